"""Which requests reach the page: those that it makes itself, from its own address."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import math
import re
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tubedet.files.full_disks import NO_SPACE

from .job_request import is_session, read_job_request

logger = logging.getLogger(__name__)

_UPLOAD = "/gradio_api/upload"
_JOIN = "/gradio_api/queue/join"
_RESULTS = "/gradio_api/queue/data"
# What the page asks for: everything else that gradio answers is closed.
_ROUTES = {
    "GET": (
        "/",
        "/favicon.ico",
        "/manifest.json",
        "/theme.css",
        "/(assets|static)/.+",
        "/gradio_api/app_id",
        "/gradio_api/file=/.+",  # absolute paths; gradio would fetch an address for a visitor
        _RESULTS,
        "/gradio_api/startup-events",
        "/gradio_api/upload_progress",
    ),
    "POST": (_JOIN, _UPLOAD),
}
_ROUTES["HEAD"] = _ROUTES["GET"]
_MAX_SESSIONS = 1000  # that are remembered
# gradio itself asks for it when it starts; it does nothing a second time.
_WITHOUT_TOKEN = ("/gradio_api/startup-events",)
_COOKIE = "tubedet_token"
_MAX_OTHER_BYTES = 1 << 20  # of a body that is no upload
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_page_route(method: str | None, path: str) -> bool:
    """Whether the page needs a request.

    Args:
        method: of HTTP; None for other protocols.
        path: decoded, as the application looks it up.
    """
    return any(re.fullmatch(route, path) for route in _ROUTES.get(method or "", ()))


def is_local(host: str) -> bool:
    """Whether an address that a server listens at can be reached from its own computer only.

    Args:
        host: name or number.
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class AccessRules:
    """Who may ask for what.

    Attributes:
        host: address that the server listens at.
        uploads: folder of what visitors brought.
        names: further names by which it is reached, such as that of a proxy in front of it.
        token: what a visitor must know; None: nothing.
        max_upload_bytes: largest upload.
        free_bytes: asked before an upload how much may still be stored.
        max_upload_seconds: longest time that an upload may take.
        num_waiting: asked before each job how many videos wait for the model.
        max_waiting: largest number of them.
    """

    host: str
    uploads: str = "/"
    names: Collection[str] = ()
    token: str | None = None
    max_upload_bytes: int = 100 << 20
    free_bytes: Callable[[], float] = lambda: math.inf
    max_upload_seconds: float = 600.0
    num_waiting: Callable[[], int] = lambda: 0
    max_waiting: int = 20

    def knows(self, name: str) -> bool:
        """Whether the server goes by a name.

        A page of somebody else may let its own name point at this computer, and then ask for
        everything in the name of its visitor: so names that nobody gave to this server are refused.

        Args:
            name: host of a request, without the port.
        """
        name = name.lower().rstrip(".")
        if name in _LOCAL_NAMES or name == self.host.lower() or name in self.names:
            return True
        if is_local(self.host):
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in {socket.gethostname().lower(), socket.getfqdn().lower()}
        return True


class RequestGuard:
    """Answers what is not for the page, and hands the rest on.

    Args:
        app: the page.
        rules: who may ask for what.
    """

    def __init__(self, app: ASGIApp, rules: AccessRules):
        self.app = app
        self.rules = rules
        self._free_bytes = math.inf  # what all uploads that are under way may still store
        self._sessions: dict[str, None] = {}  # those that have started a job, in this order

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        receive = self._limited(receive, scope["path"])
        if scope["path"] == _JOIN:
            body = await _whole_body(receive)
            job = None if body is None else read_job_request(body, self.rules.uploads)
            if body is None or job is None:
                answer = _answer(HTTPStatus.BAD_REQUEST, "This is no request of the page's form")
                await answer(scope, receive, send)
                return
            if (
                job.num_videos
                and self.rules.num_waiting() + job.num_videos > self.rules.max_waiting
            ):
                await _full_queue(self.rules.max_waiting)(scope, receive, send)
                return
            self._remember(job.session)
            receive = _again(body, receive)
        await self._answered(scope, receive, send)

    def _remember(self, session: str) -> None:
        self._sessions.pop(session, None)
        self._sessions[session] = None
        if len(self._sessions) > _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the page answer. What it fails at is one line, and the visitor is told as well."""
        is_begun = False

        async def send_on(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        except Exception as error:  # gradio's, of whatever kind
            reason = " ".join(str(error).split())[:200]
            logger.warning(f"{scope['method']} {scope['path']}: {type(error).__name__}: {reason}")
            if is_begun:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await _told(error, scope["path"])(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that does not reach the page."""
        method, path = scope.get("method"), scope["path"]
        if not is_page_route(method, path):
            return _answer(HTTPStatus.FORBIDDEN, "Not allowed")
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.rules.knows(_name(host)):
            return _answer(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"{_name(host)[:100]!r} is no name of this page (--allowed-host gives it one)",
            )
        if method == "POST" and not _is_same_site(headers, host):
            return _answer(HTTPStatus.FORBIDDEN, "This request comes from another site")
        if self.rules.token is not None and path not in _WITHOUT_TOKEN:
            answer = self._token_answer(scope, headers, path)
            if answer is not None:
                return answer
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return _answer(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
        if int(length) > self._max_bytes(path):
            return _answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"At most {self._max_bytes(path) / 2**20:.3g} MB are accepted",
            )
        if path == _RESULTS and not self._is_known(scope):
            return _answer(HTTPStatus.NOT_FOUND, "No job was started in this session")
        if path == _UPLOAD:
            self._free_bytes = self.rules.free_bytes()
            if self._free_bytes <= int(length):
                return _answer(
                    HTTPStatus.INSUFFICIENT_STORAGE,
                    "The page has no room for further videos; try again in some minutes",
                )
        return None

    def _token_answer(self, scope: Scope, headers: Headers, path: str) -> Response | None:
        token = self.rules.token
        assert token is not None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if path == "/" and any(_equal(given, token) for given in query.get("token", ())):
            answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if _equal(bearer, token) or _equal(_cookie(headers), token):
            return None
        return _answer(
            HTTPStatus.UNAUTHORIZED, "This page needs the token that was printed at its start"
        )

    def _is_known(self, scope: Scope) -> bool:
        """Whether results are asked for where a job was started."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        names = query.get("session_hash", [])
        return len(names) == 1 and is_session(names[0]) and names[0] in self._sessions

    def _max_bytes(self, path: str) -> int:
        # What surrounds the file in a form is small.
        return self.rules.max_upload_bytes + (1 << 16) if path == _UPLOAD else _MAX_OTHER_BYTES

    def _limited(self, receive: Receive, path: str) -> Receive:
        """Break off a body that is longer than its header said, or too slow, or finds no room."""
        left, is_upload = self._max_bytes(path), path == _UPLOAD
        over = time.monotonic() + self.rules.max_upload_seconds
        is_complete = False

        async def receive_limited() -> Message:
            nonlocal left, is_complete
            if is_complete:  # what comes now says that the visitor left
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), over - time.monotonic())
            except asyncio.TimeoutError:
                return {"type": "http.disconnect"}
            size = len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            left -= size
            if is_upload:
                self._free_bytes -= size
            is_refused = left < 0 or (is_upload and self._free_bytes < 0)
            return {"type": "http.disconnect"} if is_refused else message

        return receive_limited


def _answer(status: HTTPStatus, text: str) -> Response:
    return PlainTextResponse(text, status_code=int(status))


def _full_queue(max_waiting: int) -> Response:
    """Return the answer to a job for which there is no place; a browser shows gradio's words."""
    said = f"Queue is full: at most {max_waiting} videos wait. Try again in some minutes."
    return JSONResponse({"detail": said}, int(HTTPStatus.SERVICE_UNAVAILABLE))


def _told(error: Exception, path: str) -> Response:
    """Return the answer to a request that the page failed at."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return _answer(
            HTTPStatus.INSUFFICIENT_STORAGE, "The disk of this page is full; try again later"
        )
    if path == _UPLOAD and isinstance(error, TypeError):  # a form without a file
        return _answer(HTTPStatus.BAD_REQUEST, "No file was sent")
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "The page failed at this request")


async def _whole_body(receive: Receive) -> bytes | None:
    """Read a body, of which :meth:`RequestGuard._limited` bounds the size; None if it broke off."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body
    return None


def _again(body: bytes, receive: Receive) -> Receive:
    """Hand out a body that was read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def _name(host: str) -> str:
    """Host header without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_same_site(headers: Headers, host: str) -> bool:
    """Whether a browser says that the page itself asks; other programs say nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # such as "http://["
        return False


def _cookie(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return "" if cookie is None else cookie.value


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
