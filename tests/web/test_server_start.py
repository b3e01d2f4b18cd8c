"""The page's server on computers that are busy or behind a proxy."""

import contextlib
import os
import urllib.request

import pytest

gradio = pytest.importorskip("gradio")

from tubedet.errors import UserError  # noqa: E402
from tubedet.web.server import serving  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # gradio's of pandas


@contextlib.contextmanager
def serve():
    """Serves an empty page."""

    def make_page(work_folder):
        with gradio.Blocks() as page:
            return page

    options = {"host": "127.0.0.1", "port": None, "max_megabytes": 1.0, "keep_seconds": 600}
    with serving(make_page, **options) as address:
        yield address


def status_of(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=120) as response:
        return response.status


def test_a_busy_computer_is_given_time(monkeypatch):
    """gradio's own question whether the page answers has a limit of 3 seconds."""
    monkeypatch.setattr("gradio.networking.url_ok", lambda _: False)
    with serve() as address:
        assert status_of(address) == 200
    monkeypatch.setattr("tubedet.web.server._answers", lambda _: False)
    message = r"the page at http://127\.0\.0\.1:\d+/ does not answer: this computer is too busy"
    with pytest.raises(UserError, match=message):
        with serve():
            pass


def test_a_proxy_is_not_asked_for_the_page(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("NO_PROXY", "example.org")
    with serve() as address:
        assert status_of(address) == 200
    assert "no_proxy" not in os.environ
