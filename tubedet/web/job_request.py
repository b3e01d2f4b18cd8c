"""What starts a job: a request of the page's form, and nothing that gradio would stumble over."""

from __future__ import annotations

import json
import os
import re
from typing import Any

# As the page itself makes them; gradio takes any text for a key.
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE = "gradio.FileData"
# What the sliders of the page offer.
THRESHOLDS = (0.05, 1.0)
RATES = (0.5, 4.0)  # key frames per second
SMOOTHINGS = (0.0, 3.0)  # seconds
# The functions of the page, in gradio's numbers.
RUN, REDRAW, STOP = 0, 1, 2
_MAX_PATH = 4096  # characters


def session_of(body: bytes, uploads: str) -> str | None:
    """Return the session that a request to start a job belongs to; None if it is no such request.

    It has the index of a function of the page, a name for the session, and a value for each of its
    fields: a file or none, and the numbers of the sliders. That which stops a job has no fields.

    Args:
        body: of the request.
        uploads: folder in which the file must lie.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict) or type(request.get("fn_index")) is not int:
        return None
    data, session = request.get("data"), request.get("session_hash")
    if request["fn_index"] == STOP:
        return session if data == [] and is_session(session) else None
    if request["fn_index"] not in (RUN, REDRAW) or not isinstance(data, list) or len(data) != 4:
        return None
    file, *numbers = data
    limits = (THRESHOLDS, RATES, SMOOTHINGS)
    if not all(map(_is_within, numbers, limits)):
        return None
    if file is not None and not _is_upload(file, uploads):
        return None
    return session if is_session(session) else None


def is_session(name: Any) -> bool:
    """Whether a value can be the name of a session.

    Args:
        name: any.
    """
    return isinstance(name, str) and _SESSION.fullmatch(name) is not None


def _is_upload(value: Any, uploads: str) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        return False
    if value.get("meta") != {"_type": _FILE} or value.get("is_stream"):
        return False
    path = value["path"]
    is_plain = len(path) <= _MAX_PATH and "\0" not in path and os.path.normpath(path) == path
    return is_plain and path.startswith(os.path.join(uploads, ""))


def _is_within(value: Any, limits: tuple[float, float]) -> bool:
    return type(value) in (int, float) and limits[0] <= value <= limits[1]
