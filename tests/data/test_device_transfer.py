"""The copies beside the computation, on a device that only takes notes."""

import threading
import time

import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.data.device_transfer import CopyStream, DevicePrefetcher, with_tensors


def _batch(number, num_clips=2):
    instances = Instances((4, 8), gt_boxes=Boxes(torch.ones(1, 4)), gt_actions=torch.ones(1, 3))
    clip = torch.full((3, 2, 4, 8), number, dtype=torch.uint8)
    return [{"clip": clip, "instances": instances, "video_id": "a"} for _ in range(num_clips)]


class _NotedCopies:
    """Stands in for a :class:`CopyStream`."""

    def __init__(self):
        self.notes = []

    def copy(self, batch):
        number = int(batch[0]["clip"].flatten()[0])
        self.notes.append(("copy", number, threading.current_thread().name))
        return with_tensors(batch, torch.clone), number

    def hand_over(self, batch, event):
        assert int(batch[0]["clip"].flatten()[0]) == event
        self.notes.append(("hand over", event, threading.current_thread().name))

    def copied(self):
        return [number for kind, number, _ in self.notes if kind == "copy"]


def _wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def _is_reading():
    return any(thread.name == "read-ahead" for thread in threading.enumerate())


def test_the_next_batch_is_copied_while_the_caller_computes():
    copies = _NotedCopies()
    prefetcher = DevicePrefetcher([_batch(n) for n in range(5)], "cuda", copy_stream=copies)
    assert len(prefetcher) == 5
    seen = []
    for batch in prefetcher:
        number = int(batch[0]["clip"].flatten()[0])
        seen.append(number)
        # Without being asked for it: the next one, one more at most, and no further ones.
        _wait_for(lambda shown=number: max(copies.copied()) >= min(shown + 1, 4))
        time.sleep(0.01)
        assert max(copies.copied()) <= number + 2
    assert seen == [0, 1, 2, 3, 4] and not _is_reading()
    assert {thread for kind, _, thread in copies.notes if kind == "copy"} == {"read-ahead"}
    main = threading.current_thread().name
    assert [n for n in copies.notes if n[0] == "hand over"] == [
        ("hand over", number, main) for number in range(5)
    ]


def test_an_error_of_the_loader_comes_in_its_place():
    def loader():
        yield _batch(0)
        raise OSError("damaged")

    batches = iter(DevicePrefetcher(loader(), "cuda", copy_stream=_NotedCopies()))
    assert len(next(batches)) == 2
    with pytest.raises(OSError, match="damaged"):
        next(batches)
    assert not _is_reading()


def test_closing_ends_the_thread_of_an_endless_loader():
    def loader():
        number = 0
        while True:
            yield _batch(number % 256)
            number += 1

    prefetcher = DevicePrefetcher(loader(), "cuda", copy_stream=_NotedCopies())
    batches = iter(prefetcher)
    next(batches)
    assert _is_reading()
    prefetcher.close()
    assert not _is_reading()
    prefetcher.close()
    batches = iter(prefetcher)
    next(batches)
    del batches  # what a caller forgets ends, too
    assert not _is_reading()


def test_batches_stay_as_they_are_on_a_cpu():
    loader = [_batch(0), _batch(1)]
    found = list(DevicePrefetcher(loader, "cpu"))
    assert found[0][0] is loader[0][0] and found[1][1] is loader[1][1]
    assert not _is_reading()


def test_all_tensors_of_a_batch_are_changed():
    (item,) = with_tensors(_batch(3, num_clips=1), lambda x: x + 1)
    assert item["clip"].unique().tolist() == [4]
    assert item["instances"].gt_boxes.tensor.tolist() == [[2, 2, 2, 2]]
    assert item["instances"].gt_actions.tolist() == [[2, 2, 2]]
    assert item["instances"].image_size == (4, 8) and item["video_id"] == "a"


def test_a_copy_is_pinned_and_its_user_waits(monkeypatch):
    """CopyStream itself, with the calls to CUDA noted instead of made."""
    notes = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def record_event(self):
            notes.append(f"{self.name} records")
            return "event"

        def wait_event(self, event):
            notes.append(f"{self.name} waits for {event}")

    class Within:
        def __init__(self, what):
            self.what = getattr(what, "name", str(what))

        def __enter__(self):
            notes.append(f"in {self.what}")

        def __exit__(self, *exc_info):
            notes.append(f"out of {self.what}")

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side"))
    monkeypatch.setattr(torch.cuda, "stream", Within)
    monkeypatch.setattr(torch.cuda, "device", Within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("main"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: notes.append("pin") or self)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda self, stream: notes.append(f"kept for {stream.name}")
    )
    to = torch.Tensor.to

    def noted_to(self, device, non_blocking=None):
        if isinstance(device, torch.dtype):  # a constructor of detectron2
            return to(self, device)
        notes.append(f"to {device}, non_blocking {non_blocking}")
        return to(self, "meta")

    monkeypatch.setattr(torch.Tensor, "to", noted_to)
    copies = CopyStream(torch.device("cuda"))
    batch, event = copies.copy(_batch(0, num_clips=1))
    assert batch[0]["clip"].device.type == "meta"
    assert batch[0]["instances"].gt_boxes.tensor.device.type == "cpu"
    assert notes == [
        *("in cuda:1", "in side"),
        "pin",
        "to cuda:1, non_blocking True",
        *("side records", "out of side", "out of cuda:1"),
    ]
    notes.clear()
    copies.hand_over(batch, event)
    assert notes == ["main waits for event", "kept for main"]
