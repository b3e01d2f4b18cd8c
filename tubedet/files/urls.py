"""Telling URLs from paths of files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(path: str) -> bool:
    """Tell whether a path is a URL, such as ``rtsp://camera/1``, and not a file.

    Args:
        path: of a file, or a URL.

    Returns:
        bool: whether it begins with a scheme and ``://``. A file whose name holds ``://`` further
        on is still a file.
    """
    return _SCHEME.match(path) is not None


def url_stem(url: str) -> str:
    """Name what a URL leads to.

    Args:
        url: such as ``http://host/a%20film.mp4?key=1``.

    Returns:
        str: the last part of its path without the suffix, ``a film``; without a path the name of
        the host; ``stream`` if it has neither.
    """
    parts = urlsplit(url)
    return PurePosixPath(unquote(parts.path)).stem or parts.hostname or "stream"
