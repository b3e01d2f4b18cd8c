"""Which requests start a job."""

import json

import pytest

from tubedet.web.job_request import (
    EXAMPLE,
    MAX_VIDEOS,
    REDRAW,
    RESTORE,
    SHOW,
    STOP,
    JobRequest,
    is_session,
    read_job_request,
)

TAB = "0123456789abcdef" * 2
FILE = {"path": "/served/x/a.mp4", "meta": {"_type": "gradio.FileData"}, "size": 5}
JOB = {"data": [[FILE], 0.5, 1.0, 1.0, TAB], "fn_index": 0, "session_hash": "k3_-Z"}


def given(**changes):
    return json.dumps({**JOB, **changes}).encode()


def form(number, *data):
    return given(fn_index=number, data=list(data))


def with_file(**changes):
    return given(data=[[{**FILE, **changes}], 0.5, 1, 1, TAB])


def test_the_forms_of_the_page():
    for body, num_videos in (
        (given(), 1),
        (given(data=[None, 0.05, 4, 0, TAB]), 1),  # it waits, too
        (given(data=[[], 0.05, 4, 0, TAB]), 1),
        (given(data=[[FILE] * 3, 0.5, 1, 1, TAB]), 3),
        (given(data=[[FILE] * 100, 0.5, 1, 1, TAB]), MAX_VIDEOS),  # which is refused at once
        (given(fn_index=REDRAW), 1),
        (form(STOP), 0),
        (form(RESTORE, TAB), 0),
        (form(SHOW, MAX_VIDEOS - 1, TAB), 0),
        (form(EXAMPLE), 0),
        (given(event_data=None, trigger_id=9), 1),
        (with_file(orig_name="b.mp4", url="http://127.0.0.1/x"), 1),
    ):
        assert read_job_request(body, "/served") == JobRequest("k3_-Z", num_videos)


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"fn_index":' + b"9" * 5000],
        *[given(fn_index=number) for number in (-1, 2, 3, 4, 5, 6, 99, 10**30, "0", None, True)],
        *[given(session_hash=name) for name in (None, 5, "", "x" * 65, "a b", "\ud800", "a\n")],
        *[
            given(data=data)
            for data in (None, {}, "abc", [], [None], [None, 0.5, 1, 1], [None, 0.5, 1, 1, 1, TAB])
        ],
        *[given(data=[None, *pair, 1, TAB]) for pair in ((0.5, 0), (-5, 1), (0.5, "1"), (True, 1))],
        *[
            given(data=[None, *pair, 1, TAB])
            for pair in ((0.5, 1e308), (float("nan"), 1), (None, None))
        ],
        *[given(data=[None, 0.5, 1, number, TAB]) for number in (-0.1, 3.1, None, float("nan"))],
        *[given(data=[None, 0.5, 1, 1, tab]) for tab in (None, "", 5, TAB[1:], TAB + "\n", [TAB])],
        *[
            given(data=[file, 0.5, 1, 1, TAB])
            for file in ("/served/x", 5, FILE, [FILE] * 101, [[FILE]], [{"meta": FILE["meta"]}])
        ],
        *[with_file(path=path) for path in ("/etc/passwd", "/served", "/served/../a", "a.mp4")],
        *[with_file(path=path) for path in ("/served2/a", "/served/a\0", "/served/" + "a" * 5000)],
        *[with_file(path=None), with_file(is_stream=True), with_file(meta=None)],
        *[form(STOP, TAB), form(EXAMPLE, "/etc/passwd"), form(RESTORE), form(RESTORE, "x")],
        *[form(SHOW, number, TAB) for number in (-1, MAX_VIDEOS, 0.0, True, "0", None)],
        *[form(SHOW, 0), form(SHOW, 0, "x"), form(SHOW, 0, 0, TAB)],
    ],
)
def test_everything_else(body):
    assert read_job_request(body, "/served") is None


def test_sessions():
    assert is_session("a1") and not any(map(is_session, (None, 1, [], "", "a/b")))
