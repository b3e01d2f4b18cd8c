"""Serving the page: to this computer only, and nothing but what visitors brought and got."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .page import CSS

# The fonts of the visitor's own computer: nothing is loaded for them.
_THEME = gr.themes.Default(
    primary_hue="teal", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono="monospace"
)


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
        "/gradio_api/queue/data",
        "/gradio_api/startup-events",
        "/gradio_api/upload_progress",
    ),
    "POST": ("/gradio_api/queue/join", "/gradio_api/upload"),
}
_ROUTES["HEAD"] = _ROUTES["GET"]


class _PageRoutesOnly:
    """Answers the requests of :data:`_ROUTES` and no other."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_page_route(scope.get("method"), scope["path"]):
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse("Not allowed", status_code=403)(scope, receive, send)


def is_page_route(method: str | None, path: str) -> bool:
    """Whether the page needs a request.

    Args:
        method: of HTTP; None for other protocols.
        path: decoded, as the application looks it up.
    """
    return any(re.fullmatch(route, path) for route in _ROUTES.get(method or "", ()))


@contextlib.contextmanager
def serving(
    make_page: Callable[[Path], gr.Blocks], *, host: str, port: int | None, max_megabytes: float
) -> Iterator[str]:
    """Serve a page for the time of the block.

    Uploads and results lie in a temporary folder, which is removed at the end. Only files that were
    uploaded, or handed out as results, can be asked for, under names that nobody can guess. What
    the page does not need is not answered. Neither page nor server asks anything of other
    computers.

    Args:
        make_page: makes the page; it is given a folder to make results in, which is not served.
        host: address to listen at.
        port: None: a free one from 7860 on.
        max_megabytes: larger uploads are broken off.

    Yields:
        str: address of the page.

    Raises:
        OSError: if the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="tubedet-web-") as folder:
        served, work = Path(folder) / "served", Path(folder) / "work"
        served.mkdir()
        work.mkdir()
        environment = {
            "GRADIO_TEMP_DIR": str(served),
            "GRADIO_EXAMPLES_CACHE": str(served),
            "GRADIO_ALLOWED_PATHS": "",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_RUN_HISTORY": "False",
        }
        with _environment(environment):
            page = make_page(work)
            # One after another: a model takes the whole device.
            page.queue(default_concurrency_limit=1, max_size=20)
            try:
                _, address, _ = page.launch(
                    server_name=host,
                    server_port=port,
                    prevent_thread_lock=True,
                    quiet=True,
                    share=False,
                    ssr_mode=False,
                    mcp_server=False,
                    pwa=False,
                    enable_monitoring=False,
                    footer_links=[],
                    allowed_paths=[],
                    max_file_size=int(max_megabytes * 2**20),
                    app_kwargs={"middleware": [Middleware(_PageRoutesOnly)]},
                    theme=_THEME,
                    css=CSS,
                )
                yield address
            finally:
                page.close(verbose=False)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set what gradio takes from environment variables alone."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def serve(
    make_page: Callable[[Path], gr.Blocks],
    *,
    is_over: Callable[[], bool] = lambda: False,
    **options,
) -> None:
    """Serve a page until the program is interrupted (SIGINT or SIGTERM).

    Args:
        make_page: see :func:`serving`.
        is_over: asked every second whether to end.
        options: see :func:`serving`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), serving(make_page, **options) as address:
        print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
        while not is_over():
            time.sleep(1)
