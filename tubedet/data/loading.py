"""Loaders of clips: their workers, and batches for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import cv2
import torch
from detectron2.data import DatasetFromList, MapDataset
from detectron2.data.samplers import InferenceSampler
from torch.utils.data import DataLoader, Sampler

from tubedet.errors import UserError
from tubedet.parent_process import end_worker_with_parent


def with_single_threaded_workers(loader: Iterable) -> Iterable:
    """Let each worker of a loader keep to one core and end with its parent.

    What else they do at their start stays.

    Args:
        loader: of PyTorch, or what detectron2 makes of one; changed in place.
    """
    inner = torch_loader_of(loader)
    inner.worker_init_fn = partial(_start_worker, inner.worker_init_fn)
    return loader


def torch_loader_of(loader: Iterable) -> DataLoader:
    """Return a loader of PyTorch itself; detectron2 groups its items by aspect ratio behind it.

    Args:
        loader: of PyTorch, or what detectron2 makes of one.
    """
    inner = loader if isinstance(loader, DataLoader) else getattr(loader, "dataset", None)
    if not isinstance(inner, DataLoader):
        raise TypeError(f"{type(loader).__name__} is no loader of PyTorch")
    return inner


def _start_worker(also: Callable[[int], None] | None, worker_id: int) -> None:
    end_worker_with_parent()
    # Decoders and colour conversions have one thread already, see tubedet.data.video.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if also is not None:
        also(worker_id)


def build_test_loader(
    records: list[dict],
    *,
    mapper: Callable[[dict], dict],
    batch_size: int = 1,
    num_workers: int = 0,
) -> DataLoader:
    """Build a loader of every key frame once, shared among the processes.

    detectron2 0.6 has none with batches. Workers end with the pass: to start them again for the
    next evaluation takes less than a second, to keep them takes memory all through a training.

    Args:
        records: dataset dicts.
        mapper: from a dataset dict to the input of a model.
        batch_size: inputs of a batch, see :class:`EqualSizeBatches`.
        num_workers: loader processes.

    Raises:
        UserError: if ``batch_size`` is not positive.
    """
    dataset = MapDataset(DatasetFromList(records, copy=False), mapper)
    sampler = InferenceSampler(len(records))
    loader = DataLoader(
        dataset,
        batch_sampler=EqualSizeBatches(sampler, records, batch_size),
        num_workers=num_workers,
        collate_fn=list,
    )
    with_single_threaded_workers(loader)
    return loader


class EqualSizeBatches(Sampler[list[int]]):
    """Neighbours of a sampler whose clips have one size, so that none of them is padded.

    A padded clip gives slightly other results than the same clip alone.

    Args:
        sampler: numbers of records.
        records: dataset dicts. A clip has the size that ``height`` and ``width`` say; without
            them, clips of one ``video`` are of one size.
        batch_size: records of a batch; where the size changes a batch has fewer.

    Raises:
        UserError: if ``batch_size`` is not positive.
    """

    def __init__(self, sampler: Iterable[int], records: Sequence[dict], batch_size: int):
        if batch_size < 1:
            raise UserError(f"TEST.BATCH_SIZE is {batch_size}; give at least 1")
        self._batches: list[list[int]] = []
        size = None
        for index in sampler:
            record = records[index]
            new_size = record.get("height"), record.get("width")
            if None in new_size:
                new_size = (record["video"], None)
            if new_size != size or len(self._batches[-1]) == batch_size:
                self._batches.append([])
            self._batches[-1].append(index)
            size = new_size

    def __iter__(self) -> Iterator[list[int]]:
        """Return the batches, in the order of the sampler."""
        return iter(self._batches)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)
