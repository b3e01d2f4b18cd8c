"""Which requests reach the page."""

import asyncio
import json
import logging
import socket

import pytest

pytest.importorskip("gradio")

from tubedet.web.request_guard import AccessRules, RequestGuard, is_local  # noqa: E402

TOKEN = "0123456789abcdef"
JOIN = "/gradio_api/queue/join"
NO_JOB = "This is no request of the page's form"
FILE = {"path": "/served/x/a.mp4", "meta": {"_type": "gradio.FileData"}}
JOB = {"data": [[FILE], 0.5, 1.0, 1.0, "0" * 32], "fn_index": 0, "session_hash": "s1"}


def ask(rules, method="GET", path="/", headers=(), query="", bodies=None, guard=None):
    """Status, headers and text of the answer; what got through is 200 with its body's length."""
    sent = []
    chunks = list(bodies or [json.dumps(JOB).encode() if path == JOIN else b""])

    async def page(scope, receive, send):
        length = 0
        while (message := await receive())["type"] == "http.request":
            length += len(message["body"])
            if not message["more_body"]:
                break
        text = str(length) if message["type"] == "http.request" else "broken off"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    async def receive():
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message):
        sent.append(message)

    given = {"host": "127.0.0.1:7860", **dict(headers)}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in given.items() if v is not None],
    }
    guard = guard or RequestGuard(page, rules)
    guard.app = guard.app or page
    asyncio.run(guard(scope, receive, send))
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], names, sent[1]["body"].decode()


LOCAL = AccessRules("127.0.0.1")
OPEN = AccessRules("0.0.0.0", names=frozenset({"demo.example.org"}))


@pytest.mark.parametrize(
    ("rules", "host", "status"),
    [
        *[(LOCAL, host, 200) for host in ("127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:9")],
        *[(LOCAL, host, 421) for host in ("evil.example", "127.0.0.1.evil.example:7860", "", "[")],
        *[(LOCAL, host, 421) for host in ("10.0.0.1:7860", "localhost@evil.example", None)],
        *[(OPEN, host, 200) for host in ("10.0.0.1:7860", "[fe80::1]", "demo.example.org:443")],
        *[(OPEN, host, 200) for host in (socket.gethostname(), "localhost.")],
        *[(OPEN, host, 421) for host in ("evil.example", "demo.example.org.evil.example")],
        (AccessRules("mybox"), "mybox:7860", 200),
        (AccessRules("mybox"), "evil:7860", 421),
    ],
)
def test_the_page_answers_to_its_own_names(rules, host, status):
    assert ask(rules, headers={"host": host})[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:7861"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join"])
def test_other_sites_cannot_upload_or_start(headers, status, path):
    assert ask(LOCAL, "POST", path, headers)[0] == status


def test_a_token_is_asked_for():
    rules = AccessRules("127.0.0.1", token=TOKEN)
    status, _, text = ask(rules)
    assert (status, text) == (401, "This page needs the token that was printed at its start")
    for given in ("", "token=", "token=wrong", f"token={TOKEN}x", f"other={TOKEN}"):
        assert ask(rules, query=given)[0] == 401
    status, headers, _ = ask(rules, query=f"token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    given = {"cookie": cookie.partition(";")[0]}
    assert ask(rules, headers=given)[0] == 200
    assert ask(rules, "POST", "/gradio_api/upload", given)[0] == 200
    assert ask(rules, headers={"authorization": f"Bearer {TOKEN}"})[0] == 200
    for wrong in ({"cookie": "tubedet_token=x"}, {"cookie": "é="}, {"authorization": "Bearer ü"}):
        assert ask(rules, headers=wrong)[0] == 401
    assert ask(rules, "POST", "/gradio_api/upload", query=f"token={TOKEN}")[0] == 401


def test_bodies_are_limited():
    rules = AccessRules("127.0.0.1", max_upload_bytes=1000)
    limit = 1000 + 2**16
    for path, most in (("/gradio_api/upload", limit), ("/gradio_api/queue/join", 2**20)):
        assert ask(rules, "POST", path, {"content-length": str(most)})[0] == 200
        status, _, text = ask(rules, "POST", path, {"content-length": str(most + 1)})
        assert status == 413 and "At most" in text
        # Without a length, or with a false one.
        job, half = json.dumps(JOB).encode(), most // 2
        bodies = [job + b" " * (half - len(job)), b" " * half]
        assert ask(rules, "POST", path, bodies=bodies)[2] == str(half * 2)
        headers = {"content-length": "5"}
        status, _, text = ask(rules, "POST", path, headers, bodies=[*bodies, b" " * half])
        assert (status, text) == ((400, NO_JOB) if path == JOIN else (200, "broken off"))
    for length in ("-1", "1e3", "٣", ""):
        headers = {"content-length": length} if length.isascii() else {}
        assert ask(rules, "POST", path, headers)[0] == (400 if headers else 200)


def test_a_full_page_takes_no_further_file():
    rules = AccessRules("127.0.0.1", free_bytes=lambda: 0)
    status, _, text = ask(rules, "POST", "/gradio_api/upload")
    assert status == 507 and "no room for further videos" in text
    assert ask(rules, "POST", "/gradio_api/queue/join")[0] == 200


def test_so_many_videos_wait_and_no_more():
    waiting = [18]
    rules = AccessRules("127.0.0.1", num_waiting=lambda: waiting[0])
    two = json.dumps({**JOB, "data": [[FILE] * 2, *JOB["data"][1:]]}).encode()
    stop = json.dumps({**JOB, "data": [], "fn_index": 2}).encode()
    assert ask(rules, "POST", JOIN, bodies=[two])[0] == 200
    waiting[0] = 19
    status, _, text = ask(rules, "POST", JOIN, bodies=[two])
    assert status == 503
    assert (
        json.loads(text)["detail"]
        == "Queue is full: at most 20 videos wait. Try again in some minutes."
    )
    assert ask(rules, "POST", JOIN)[0] == 200
    waiting[0] = 20
    assert ask(rules, "POST", JOIN)[0] == 503
    assert ask(rules, "POST", JOIN, bodies=[stop])[0] == 200  # which waits for nothing


def test_uploads_at_once_share_the_room():
    """Each of them alone would fit."""
    taken, bodies = [], [[bytes(400)] * 2 for _ in range(5)]

    async def page(scope, receive, send):
        message = {"more_body": True}
        while message.get("more_body") and (message := await receive())["type"] == "http.request":
            taken.append(len(message["body"]))
            await asyncio.sleep(0)

    guard = RequestGuard(page, AccessRules("127.0.0.1", free_bytes=lambda: 1000))
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload"}
    scope["headers"] = [(b"host", b"localhost"), (b"content-length", b"800")]

    async def upload(chunks):
        async def receive():
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        await guard(scope, receive, None)

    async def all_at_once():
        await asyncio.gather(*map(upload, bodies))

    asyncio.run(all_at_once())
    assert taken == [400, 400]


def test_an_upload_that_stands_still_is_ended():
    ends = []

    async def page(scope, receive, send):
        ends.append(await receive())

    rules = AccessRules("127.0.0.1", max_upload_seconds=0.01)
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload"}
    scope["headers"] = [(b"host", b"localhost")]
    guard = RequestGuard(page, rules)
    asyncio.run(guard(scope, asyncio.Event().wait, None))
    assert ends == [{"type": "http.disconnect"}]


def test_addresses_of_this_computer_only():
    assert all(map(is_local, ("127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3")))
    assert not any(map(is_local, ("0.0.0.0", "::", "10.0.0.1", "mybox", "localhost.evil")))


def test_results_are_for_those_who_started_a_job():
    guard = RequestGuard(None, LOCAL)

    def results(query):
        return ask(LOCAL, path="/gradio_api/queue/data", query=query, guard=guard)[0]

    assert results("session_hash=s1") == 404
    assert ask(LOCAL, "POST", JOIN, guard=guard)[0] == 200
    assert results("session_hash=s1") == 200
    for query in ("", "session_hash=", "session_hash=s2", "session_hash=s1&session_hash=s1"):
        assert results(query) == 404
    for number in range(1000):  # so many are remembered
        job = {**JOB, "session_hash": f"n{number}"}
        ask(LOCAL, "POST", JOIN, bodies=[json.dumps(job).encode()], guard=guard)
    assert results("session_hash=n0") == 200 and results("session_hash=s1") == 404


@pytest.mark.parametrize(
    ("path", "error", "status", "text"),
    [
        ("/gradio_api/upload", OSError(28, "No space left on device"), 507, "The disk of this"),
        ("/gradio_api/upload", TypeError("File is not an\ninstance"), 400, "No file was sent"),
        (JOIN, KeyError(-1), 500, "The page failed at this request"),
    ],
)
def test_what_the_page_fails_at_is_one_line(path, error, status, text, caplog):
    async def page(scope, receive, send):
        raise error

    caplog.set_level(logging.WARNING, "tubedet")
    answer = ask(LOCAL, "POST", path, guard=RequestGuard(page, LOCAL))
    assert answer[0] == status and answer[2].startswith(text)
    (record,) = caplog.records
    assert record.exc_info is None and "\n" not in record.getMessage()
    assert record.getMessage().startswith(f"POST {path}: {type(error).__name__}: ")


def test_an_answer_that_breaks_off_is_ended(caplog):
    sent = []

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("response already started")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(RequestGuard(page, LOCAL)(scope, None, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["more_body"] is False and len(caplog.records) == 1
