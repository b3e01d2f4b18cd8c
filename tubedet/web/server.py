"""Serving the page: to this computer only, and nothing but what visitors brought and got."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener, getproxies

import gradio as gr
from starlette.middleware import Middleware

from tubedet.errors import UserError

from .job_request import num_videos_of
from .page import MODEL_QUEUE
from .page_parts import CSS, PAGE_JS
from .request_guard import AccessRules, RequestGuard
from .visitor_files import VisitorFiles

# The fonts of the visitor's own computer: nothing is loaded for them.
_THEME = gr.themes.Default(
    primary_hue="teal", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono="monospace"
).set(  # gradio's own colours are too pale to be read
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    block_info_text_color="*neutral_500",
)

_MAX_STORED_UPLOADS = 20  # as large as the largest one
_ANSWER_SECONDS = (5, 10, 30)


@contextlib.contextmanager
def serving(
    make_page: Callable[[Path], gr.Blocks],
    *,
    host: str,
    port: int | None,
    max_megabytes: float,
    keep_seconds: float,
    names: Collection[str] = (),
    token: str | None = None,
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
        max_megabytes: larger uploads are broken off; of all stored files together
            20 times as much is accepted.
        keep_seconds: age at which uploads and results are deleted.
        names: further names by which the page is reached.
        token: what a visitor must know; None: nothing.

    Yields:
        str: address of the page, with the token.

    Raises:
        OSError: if the port is taken.
        UserError: if the page does not answer, as on a machine that is too busy.
    """
    max_bytes = int(max_megabytes * 2**20)
    with VisitorFiles(keep_seconds=keep_seconds) as files:
        rules = AccessRules(
            host=host,
            uploads=str(files.served),
            names=frozenset(name.lower() for name in names),
            token=token,
            max_upload_bytes=max_bytes,
            free_bytes=lambda: min(
                _MAX_STORED_UPLOADS * max_bytes - files.num_bytes(), files.disk_bytes()
            ),
            max_upload_seconds=min(600.0, keep_seconds),
            num_waiting=lambda: _num_waiting(page),
        )
        environment = {
            "GRADIO_TEMP_DIR": str(files.served),
            "GRADIO_EXAMPLES_CACHE": str(files.served),
            "GRADIO_ALLOWED_PATHS": "",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_RUN_HISTORY": "False",
            # gradio asks its own page whether it answers; a proxy would not find it.
            "no_proxy": ",".join(filter(None, [getproxies().get("no"), host, "localhost"])),
        }
        with _environment(environment):
            page = make_page(files.work)
            # One after another: a model takes the whole device. How many wait for it is limited by
            # the guard; Stop and the like have to get through.
            page.queue(default_concurrency_limit=1, max_size=100)
            try:
                address = _launched(
                    page,
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
                    max_file_size=max_bytes,
                    app_kwargs={"middleware": [Middleware(RequestGuard, rules=rules)]},
                    theme=_THEME,
                    css=CSS,
                    js=PAGE_JS,
                )
                yield address if token is None else f"{address}?token={token}"
            finally:
                page.close(verbose=False)


def _num_waiting(page: gr.Blocks) -> int:
    """How many videos wait for the model; gradio drops jobs of visitors who left."""
    queue = page._queue.event_queue_per_concurrency_id.get(MODEL_QUEUE)
    events = [] if queue is None else list(queue.queue)
    return sum(num_videos_of(event.data.data) for event in events if event.data)


def _launched(page: gr.Blocks, **options) -> str:
    """Start the server and return the page's address."""
    try:
        _, address, _ = page.launch(**options)
        return address
    except ValueError as error:
        # gradio starts the server and gives up where an answer takes 3 seconds.
        if not page.is_running:
            raise
        if not _answers(page.local_url):
            raise UserError(
                f"the page at {page.local_url} does not answer: this computer is too busy; start "
                "it again later"
            ) from error
        return page.local_url


def _answers(address: str) -> bool:
    """Ask for the page several times, each time with more patience."""
    opener = build_opener(ProxyHandler({}))
    for seconds in _ANSWER_SECONDS:
        try:
            opener.open(address, timeout=seconds).close()
            return True
        except HTTPError:  # whoever refuses is there
            return True
        except OSError:
            time.sleep(0.5)
    return False


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
