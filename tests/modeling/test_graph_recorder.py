"""What a recorder of CUDA graphs leaves behind, and says, when a recording fails."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from tubedet.modeling.graph_recorder import GraphRecorder

MESSAGE = "operation not permitted when stream is capturing"


@pytest.fixture
def cuda(monkeypatch):
    """The streams that were set; the end of a failed recording fails, as CUDA's does."""
    streams = []

    @contextlib.contextmanager
    def graph(graph, *, stream, pool, capture_error_mode):
        streams.append((stream, pool))
        try:
            yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    handles = iter(range(9))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=None))
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream before")
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: streams.append(stream))
    return streams


def _fail(error):
    raise error


def test_a_failure_tells_its_first_error_and_what_to_do(cuda):
    recorder = GraphRecorder("MODEL.CUDA_GRAPHS")
    with pytest.raises(RuntimeError, match=f"{MESSAGE}.*set MODEL.CUDA_GRAPHS False"):
        recorder.record(torch.device("cuda:0"), lambda: _fail(RuntimeError(MESSAGE)))
    assert cuda[-1] == "stream before"


def test_full_memory_stays_what_it_is(cuda):
    recorder = GraphRecorder("MODEL.CUDA_GRAPHS")
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        recorder.record(
            torch.device("cuda:0"), lambda: _fail(torch.OutOfMemoryError("CUDA out of memory"))
        )


def test_every_gpu_has_a_stream_and_a_pool(cuda):
    recorder = GraphRecorder("MODEL.CUDA_GRAPHS")
    for index in (0, 1, 0):
        assert recorder.record(torch.device(f"cuda:{index}"), lambda: 7)[0] == 7
    assert cuda[::2] == [("stream of cuda:0", 0), ("stream of cuda:1", 1), ("stream of cuda:0", 0)]
