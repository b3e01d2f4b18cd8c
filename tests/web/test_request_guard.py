"""Which requests reach the page."""

import asyncio
import socket

import pytest

pytest.importorskip("gradio")

from tubedet.web.request_guard import AccessRules, RequestGuard, is_local  # noqa: E402

TOKEN = "0123456789abcdef"


def ask(rules, method="GET", path="/", headers=(), query="", bodies=(b"",)):
    """Status, headers and text of the answer; what got through is 200 with its body's length."""
    sent, chunks = [], list(bodies)

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
    asyncio.run(RequestGuard(page, rules)(scope, receive, send))
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
        assert ask(rules, "POST", path, bodies=[bytes(most // 2)] * 2)[2] == str(most // 2 * 2)
        bodies = [bytes(most // 2)] * 3
        assert ask(rules, "POST", path, {"content-length": "5"}, bodies=bodies)[2] == "broken off"
    for length in ("-1", "1e3", "٣", ""):
        headers = {"content-length": length} if length.isascii() else {}
        assert ask(rules, "POST", path, headers)[0] == (400 if headers else 200)


def test_a_full_page_takes_no_further_file():
    rules = AccessRules("127.0.0.1", free_bytes=lambda: 0)
    status, _, text = ask(rules, "POST", "/gradio_api/upload")
    assert status == 507 and "no room for further videos" in text
    assert ask(rules, "POST", "/gradio_api/queue/join")[0] == 200


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
