"""Which requests start a job."""

import json

import pytest

from tubedet.web.job_request import is_session, session_of

FILE = {"path": "/served/x/a.mp4", "meta": {"_type": "gradio.FileData"}, "size": 5}
JOB = {"data": [FILE, 0.5, 1.0, 1.0], "fn_index": 0, "session_hash": "k3_-Z"}


def given(**changes):
    return json.dumps({**JOB, **changes}).encode()


def with_file(**changes):
    return given(data=[{**FILE, **changes}, 0.5, 1, 1])


def test_the_form_of_the_page():
    for body in (
        given(),
        given(data=[None, 0.05, 4, 0]),
        given(fn_index=1),
        given(fn_index=2, data=[]),
        given(event_data=None, trigger_id=9),
        with_file(orig_name="b.mp4", url="http://127.0.0.1/x"),
    ):
        assert session_of(body, "/served") == "k3_-Z"


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"fn_index":' + b"9" * 5000],
        *[given(fn_index=number) for number in (-1, 2, 3, 99, 10**30, "0", None, True, 0.0)],
        *[given(session_hash=name) for name in (None, 5, "", "x" * 65, "a b", "\ud800", "a\n")],
        *[
            given(data=data)
            for data in (None, {}, "abc", [], [None], [None, 0.5, 1], [None, 0.5, 1, 1, 1])
        ],
        *[given(data=[None, *pair, 1]) for pair in ((0.5, 0), (-5, 1), (0.5, "1"), (True, 1))],
        *[given(data=[None, *pair, 1]) for pair in ((0.5, 1e308), (float("nan"), 1), (None, None))],
        *[given(data=[None, 0.5, 1, number]) for number in (-0.1, 3.1, None, float("nan"))],
        *[
            given(data=[file, 0.5, 1, 1])
            for file in ("/served/x", 5, [FILE], {"meta": FILE["meta"]})
        ],
        *[with_file(path=path) for path in ("/etc/passwd", "/served", "/served/../a", "a.mp4")],
        *[with_file(path=path) for path in ("/served2/a", "/served/a\0", "/served/" + "a" * 5000)],
        *[with_file(path=None), with_file(is_stream=True), with_file(meta=None)],
    ],
)
def test_everything_else(body):
    assert session_of(body, "/served") is None


def test_sessions():
    assert is_session("a1") and not any(map(is_session, (None, 1, [], "", "a/b")))
