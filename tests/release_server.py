"""A server of released files on this machine, and a small detector that it has."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from detectron2.modeling import build_model
from torch import nn

from tubedet.checkpoint import to_tuber_names
from tubedet.engine import load_config
from tubedet.model_zoo import ReleasedModel

CONFIG = "quick_schedules/TubeR_toy.yaml"


class ReleaseServer:
    """Answers with the content of :attr:`files` and keeps what was asked for.

    Attributes:
        url: where it is.
        files: path -> content.
        cut_off: number of bytes that are missing at the end of every answer.
        requests: such as "GET /toy.pth".
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.cut_off = 0
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                outer.requests.append(f"{self.command} {self.path}")
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content[: len(content) - outer.cut_off])

            do_GET = do_HEAD

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[ReleaseServer]:
        """Serve until the end of the block."""
        with self._server:
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
            yield self
            self._server.shutdown()

    @property
    def downloads(self) -> list[str]:
        """The paths that were sent."""
        return [request.split()[1] for request in self.requests if request.startswith("GET")]


def toy_model() -> nn.Module:
    """The toy TubeR with the weights of :func:`toy_checkpoint`, in evaluation mode."""
    torch.manual_seed(5)
    return build_model(load_config(CONFIG, ["MODEL.DEVICE", "cpu"])).eval()


def toy_checkpoint() -> bytes:
    """A file of weights by the names of the released TubeR."""
    stream = io.BytesIO()
    torch.save({"model": to_tuber_names(toy_model().state_dict())}, stream)
    return stream.getvalue()


def toy_release(url: str, path: str = "files/toy.pth", **changes) -> ReleasedModel:
    """An entry of the zoo.

    Args:
        url: of the server.
        path: of the file there; iopath's cache has one file for a path.
        changes: further fields.
    """
    fields = {
        "name": "TubeR_toy_released",
        "url": f"{url}/{path}",
        "part": "model",
        "data": "drawn people",
        "licence": "CC0-1.0",
        "source": "https://example.com/toy",
        "config": CONFIG,
    }
    return ReleasedModel(**{**fields, **changes})


def unused_url() -> str:
    """An address of this machine at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
