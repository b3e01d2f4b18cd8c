"""Released files, fetched once into the cache of iopath."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlparse
from urllib.request import Request, urlopen

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import get_cache_dir

from tubedet.errors import UserError
from tubedet.files.urls import is_url

from .releases import ReleasedModel, find_release, released_models, similar_names

_TIMEOUT_SECONDS = 30
_FETCHED_SCHEMES = ("http", "https", "ftp", "detectron2")


def local_weights(source: str, key: str) -> str:
    """Find weights on this machine; fetch those of a released model.

    Args:
        source: path of a file, name of a released model, or URL. A file or folder goes before the
            released model of that name. A path counts as it is written, whatever "?", "#" or "%20"
            it has; "~" in front is the home folder unless there is such a file.
        key: config key that has this value, for messages.

    Returns:
        path of the file, also of a ``file://`` URL; another URL, which is for :func:`fetch_url`,
        and an empty text are returned as they are.

    Raises:
        FileNotFoundError: if there is neither such a file nor a released model of that name.
        UserError: see :func:`fetch_release`; also if it is a folder.
    """
    if source.startswith("file://"):
        source = unquote(urlparse(source).path)
    elif source.startswith("~") and not os.path.exists(source):
        source = os.path.expanduser(source)
    if not source or is_url(source) or os.path.isfile(source):
        return source
    if os.path.isdir(source):
        raise UserError(f"checkpoint {source} is a folder ({key}); give the path of a file")
    if source in {release.name for release in released_models()}:
        return fetch_release(find_release(source), key=key)
    alike = similar_names(os.path.splitext(os.path.basename(source))[0])
    advice = (
        f"; the released {alike[0]} is fetched by that name, without an ending" if alike else ""
    )
    raise FileNotFoundError(f"checkpoint {source} does not exist ({key}){advice}")


def fetch_url(url: str, *, key: str = "MODEL.WEIGHTS") -> str:
    """Find the file of a URL in the cache, or fetch it.

    Every URL has a folder of its own there: iopath alone would take the file of another host, or of
    another query, whose path is the same.

    Args:
        url: of a file; that of a released file is the same as its name.
        key: config key for which it is fetched, for messages.

    Returns:
        path of the file.

    Raises:
        OSError: if it cannot be fetched.
        UserError: see :func:`fetch_release`.
    """
    for release in released_models():
        if url == release.url:
            return fetch_release(release, key=key)
    if urlparse(url).scheme not in _FETCHED_SCHEMES:
        path = PathManager.get_local_path(url)  # of a handler that somebody has registered
        if not os.path.isfile(path):
            raise OSError(f"URLs of {urlparse(url).scheme}:// are not fetched here")
        return path
    folder = os.path.join(get_cache_dir(), "urls", hashlib.sha256(url.encode()).hexdigest()[:16])
    try:
        return PathManager.get_local_path(url, cache_dir=folder)
    except (HTTPException, ValueError) as error:
        raise OSError(_reason(error)) from error


def fetch_release(release: ReleasedModel, *, key: str = "MODEL.WEIGHTS") -> str:
    """Fetch a released file, unless it is in the cache.

    The cache is that of detectron2, ``$FVCORE_CACHE`` or ``~/.torch/iopath_cache``. A progress bar
    is shown meanwhile, and the licence is printed once the file is complete.

    Args:
        release: what to fetch.
        key: config key for which it is fetched, for messages.

    Returns:
        path of the file.

    Raises:
        UserError: if it cannot be fetched completely, or by a browser alone; the message has the
            URL and says where to put the file. What was fetched of it is removed.
    """
    path = _cached_path(release)
    by_hand = f"download {release.url} by hand to {path}, or set {key} to the path of the file"
    if os.path.isfile(path):
        size = os.path.getsize(path)
        if size != (release.num_bytes or size):
            raise UserError(
                f"{path} has {size:,} bytes, the released file {release.num_bytes:,}; remove it "
                f"to fetch it again, or {by_hand}"
            )
        return path
    if release.by_hand:
        raise UserError(
            f"{release.name} is behind a page for browsers (licence {release.licence}, see "
            f"{release.source}): {by_hand}"
        )
    try:
        num_bytes = _size_on_server(release.url)
        with _silent_iopath():
            path = PathManager.get_local_path(release.url)
        _remove_unless_complete(path, release.num_bytes or num_bytes)
    except (OSError, HTTPException) as error:
        raise UserError(f"{release.name} cannot be fetched: {_reason(error)}; {by_hand}") from error
    if comm.is_main_process():
        terms = f"licence {release.licence}, see {release.source}"
        print(f"{release.name}: trained on {release.data}; {terms}", file=sys.stderr)
    return path


def fetched_file(release: ReleasedModel) -> Path | None:
    """Return the file of a release if it is in the cache already; nothing is fetched.

    Args:
        release: whose file is looked for.
    """
    path = Path(_cached_path(release))
    return path if path.is_file() else None


def _cached_path(release: ReleasedModel) -> str:
    """Where iopath keeps a file, or where a person puts it."""
    if release.by_hand:
        return os.path.join(get_cache_dir(), "by_hand", f"{release.name}.pth")
    return os.path.join(get_cache_dir(), urlparse(release.url).path.lstrip("/"))


def _size_on_server(url: str) -> int | None:
    """Ask for the size alone, so that no progress bar starts where there is no network."""
    with urlopen(Request(url, method="HEAD"), timeout=_TIMEOUT_SECONDS) as answer:
        length = answer.headers.get("Content-Length")
    return int(length) if length else None


def _remove_unless_complete(path: str, num_bytes: int | None) -> None:
    size = os.path.getsize(path)
    if num_bytes is not None and size != num_bytes:
        os.remove(path)
        raise OSError(f"{size:,} bytes came instead of {num_bytes:,}")


@contextlib.contextmanager
def _silent_iopath() -> Iterator[None]:
    """Keep iopath from printing a line of its own before ours when a download fails."""
    logger = logging.getLogger("iopath.common.download")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__
