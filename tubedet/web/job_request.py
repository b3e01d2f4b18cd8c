"""What starts a job: a request of the page's form, and nothing that gradio would stumble over."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

# As the page itself makes them; gradio takes any text for a key.
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAB = re.compile(r"[0-9a-f]{32}")
_FILE = "gradio.FileData"
# What the sliders of the page offer.
THRESHOLDS = (0.05, 1.0)
RATES = (0.5, 4.0)  # key frames per second
SMOOTHINGS = (0.0, 3.0)  # seconds
MAX_VIDEOS = 10  # that a visitor may choose at once
# The functions of the page, in gradio's numbers.
RUN, REDRAW, STOP, RESTORE, SHOW, EXAMPLE = range(6)
_MAX_PATH = 4096  # characters
_MAX_FILES = 100  # more than the page takes: it says so itself


@dataclass(frozen=True)
class JobRequest:
    """What a request to start a job asks for.

    Attributes:
        session: that it belongs to.
        num_videos: that will wait for the model.
    """

    session: str
    num_videos: int = 0


def read_job_request(body: bytes, uploads: str) -> JobRequest | None:
    """Read a request to start a job; None if it is no such request.

    It has the index of a function of the page, a name for the session, and a value for each of the
    fields of this function: files or none, the numbers of the sliders, the secret of the tab.

    Args:
        body: of the request.
        uploads: folder in which the files must lie.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict) or not is_session(request.get("session_hash")):
        return None
    number, data = request.get("fn_index"), request.get("data")
    if type(number) is not int or not isinstance(data, list):
        return None
    if not _is_form(number, data, uploads):
        return None
    waits = number in (RUN, REDRAW)
    return JobRequest(request["session_hash"], num_videos_of(data) if waits else 0)


def num_videos_of(data: list) -> int:
    """How many places a job takes among those who wait for the model.

    Args:
        data: of the functions RUN and REDRAW.
    """
    # One for a job without a video, and for too many of them no more than the page takes.
    return min(max(len(data[0] or ()), 1), MAX_VIDEOS)


def is_session(name: Any) -> bool:
    """Whether a value can be the name of a session.

    Args:
        name: any.
    """
    return isinstance(name, str) and _SESSION.fullmatch(name) is not None


def _is_form(number: int, data: list, uploads: str) -> bool:
    """Whether the values are those of a function's fields."""
    if number in (STOP, EXAMPLE):
        return data == []
    if not data or not _is_tab(data[-1]):
        return False
    if number == RESTORE:
        return len(data) == 1
    if number == SHOW:
        return len(data) == 2 and type(data[0]) is int and 0 <= data[0] < MAX_VIDEOS
    if number not in (RUN, REDRAW) or len(data) != 5:
        return False
    limits = (THRESHOLDS, RATES, SMOOTHINGS)
    return _are_uploads(data[0], uploads) and all(map(_is_within, data[1:4], limits))


def _is_tab(value: Any) -> bool:
    return isinstance(value, str) and _TAB.fullmatch(value) is not None


def _are_uploads(value: Any, uploads: str) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or len(value) > _MAX_FILES:
        return False
    return all(_is_upload(file, uploads) for file in value)


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
