"""Batches of a loader on the device of the model, the next one copied while this one computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from detectron2.structures import Boxes, Instances

from .device_augmentation import finish_clips
from .read_ahead import ReadAhead

Batch = list[dict[str, Any]]


class CopyStream:
    """Copies batches to a GPU beside what is computed there.

    Pixels are pinned first: from pageable memory a copy would wait for the GPU. Targets stay on the
    CPU, where the losses join those of a batch to copy them at once.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device):
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self.device)

    def copy(self, batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        """Start to copy a batch; may be called in any thread.

        Args:
            batch: inputs of a model, on the CPU.

        Returns:
            the batch with its clips on the GPU, augmented, and what happens there when they are
            complete.
        """
        # A thread begins on the first GPU, and would pin memory for that one, too.
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            pinned = with_pixels(batch, torch.Tensor.pin_memory)
            copied = with_pixels(pinned, lambda x: x.to(self.device, non_blocking=True))
            return finish_clips(copied), self._stream.record_event()

    def hand_over(self, batch: Batch, copied: torch.cuda.Event) -> None:
        """Let what is computed from now on use a batch; the CPU does not wait.

        Args:
            batch: from :meth:`copy`.
            copied: likewise.
        """
        user = torch.cuda.current_stream(self.device)
        user.wait_event(copied)

        def mark(tensor: torch.Tensor) -> torch.Tensor:
            tensor.record_stream(user)  # its memory is free only when that stream is through
            return tensor

        with_pixels(batch, mark)


class DevicePrefetcher:
    """The batches of a loader, their clips on the device of the model.

    For a GPU, a thread takes them from the loader, pins and copies them while the caller computes;
    two are ready at most. Other devices get the batches as they are, augmented if that was left for
    the device.

    Args:
        loader: of lists of inputs.
        device: of the model.
        copy_stream: what copies; None: a :class:`CopyStream` for a GPU.
    """

    def __init__(
        self,
        loader: Iterable[Batch],
        device: str | torch.device,
        *,
        copy_stream: CopyStream | None = None,
    ):
        self.loader = loader
        device = torch.device(device)
        if copy_stream is None and device.type == "cuda":
            copy_stream = CopyStream(device)
        self._copy_stream = copy_stream
        self._ahead: ReadAhead[tuple[Batch, torch.cuda.Event]] | None = None

    def __len__(self) -> int:
        """Return the number of batches, if the loader has an end."""
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        """Start the loader's workers and the thread."""
        batches = iter(self.loader)  # here and not in the thread, which must not fork
        if self._copy_stream is None:
            return map(finish_clips, batches)
        return self._handed_over(batches)

    def close(self) -> None:
        """End the thread, and drop what was not taken."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _handed_over(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        assert self._copy_stream is not None
        copied = map(self._copy_stream.copy, batches)
        with ReadAhead(copied, num_bytes=lambda _: 1, max_bytes=1) as self._ahead:
            for batch, event in self._ahead:
                self._copy_stream.hand_over(batch, event)
                yield batch


def with_pixels(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    """Return a batch whose clips are changed, and not what is within :class:`Instances`.

    Args:
        batch: inputs of a model; left as they are.
        change: from a tensor to what takes its place.
    """
    return [
        {key: change(value) if torch.is_tensor(value) else value for key, value in item.items()}
        for item in batch
    ]


def with_tensors(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    """Return a batch whose tensors are changed, those within :class:`Instances` too.

    Args:
        batch: inputs of a model; left as they are.
        change: from a tensor to what takes its place.
    """
    return [{key: _changed(value, change) for key, value in item.items()} for item in batch]


def _changed(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Boxes):
        return Boxes(change(value.tensor))
    if isinstance(value, Instances):
        fields = {key: _changed(field, change) for key, field in value.get_fields().items()}
        return Instances(value.image_size, **fields)
    return value
