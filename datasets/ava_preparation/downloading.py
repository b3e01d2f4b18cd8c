"""Downloads that go on where they were interrupted."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tubedet.files.urls import is_url

from .batch import PreparationError

_CHUNK_BYTES = 1 << 20
_PERMANENT = range(400, 500)


def mirror_url(mirror: str, *parts: str) -> str:
    """Address of a file of a mirror.

    Args:
        mirror: address (http, https, file) or folder that holds the files.
        parts: path of the file below it.

    Returns:
        str: the address.
    """
    if not is_url(mirror):
        mirror = Path(mirror).resolve().as_uri()
    return "/".join((mirror.rstrip("/"), *(urllib.parse.quote(part) for part in parts)))


def fetch(
    url: str, path: Path, *, attempts: int = 5, pause: float = 2.0, timeout: float = 60.0
) -> None:
    """Download a file unless it is there already.

    What was received before an interruption is kept beside the target and continued, if the server
    sends parts of files. The target appears when it has the length that the server stated.

    Args:
        url: address (http, https or file).
        path: target; its folder must exist.
        attempts: tries before giving up on a failing connection.
        pause: seconds before the second try, doubled for each one after it.
        timeout: seconds without any data after which a try has failed.

    Raises:
        PreparationError: the file is not there, or the connection failed too often.
    """
    if path.exists():
        return
    part = path.with_name(f".{path.name}.part")
    attempts = 1 if url.startswith("file:") else attempts
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _receive(url, part, timeout)
        except urllib.error.HTTPError as error:
            failure = f"the server answers {error.code} {error.reason}"
            if error.code in _PERMANENT:
                raise PreparationError(f"{url}: {failure}") from error
        except (OSError, http.client.HTTPException) as error:
            failure = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            os.replace(part, path)
            return
    raise PreparationError(
        f"{url}: {failure} (tries: {attempts}; run the step again to go on where it stopped)"
    )


def _receive(url: str, part: Path, timeout: float) -> None:
    """Append what is missing to ``part``; starts over if the server cannot continue."""
    received = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={received}-"} if received else {}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not received:
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(received):
            return  # all of it had arrived
        part.unlink()
        _receive(url, part, timeout)
        return
    with response:
        continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
        with open(part, "ab" if continued else "wb") as stream:
            while chunk := response.read(_CHUNK_BYTES):
                stream.write(chunk)
        stated = response.headers.get("Content-Length")
    expected = None if stated is None else int(stated) + (received if continued else 0)
    if expected is not None and part.stat().st_size != expected:
        raise OSError(f"the connection ended after {part.stat().st_size} of {expected} bytes")
