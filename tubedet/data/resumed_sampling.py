"""The order of training clips, which a resumed run takes up where the run before ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from detectron2.data.common import AspectRatioGroupedDataset, ToIterableDataset
from detectron2.utils import comm
from torch.utils.data import Sampler

from .loading import torch_loader_of


def with_resumable_order(loader: Iterable, records: Sequence[dict]) -> Iterable:
    """Let :func:`go_on_behind` start a loader of training clips later.

    Args:
        loader: of detectron2's ``build_detection_train_loader``; its sampler is replaced, the order
            of its clips stays.
        records: dataset dicts that it loads. ``height`` and ``width`` say in which group detectron2
            puts a clip; without them, all clips are taken as wide ones.
    """
    inner = torch_loader_of(loader)
    if not isinstance(inner.dataset, ToIterableDataset):
        raise TypeError("the loader is none of detectron2's build_detection_train_loader")
    grouped = isinstance(loader, AspectRatioGroupedDataset)
    batch_size = getattr(loader, "batch_size", None) or 1  # of PyTorch's loader, if it groups none
    is_wide = np.array([r.get("width", 1) > r.get("height", 0) for r in records])
    inner.dataset.sampler = ResumableSampler(
        inner.dataset.sampler,
        is_wide=is_wide if grouped else np.ones(len(records), dtype=bool),
        batch_size=batch_size,
        num_workers=inner.num_workers,
        items_per_turn=1 if grouped else batch_size,
        # detectron2 0.6 deals the items out one by one.
        items_per_share=getattr(inner.dataset, "shard_chunk_size", 1),
    )
    return loader


def go_on_behind(loader: Iterable, num_clips: int) -> None:
    """Start a loader behind the clips that were drawn.

    Args:
        loader: of :func:`with_resumable_order`, not yet iterated.
        num_clips: clips of the training up to now, in all processes together. With another
            batch size or number of processes or workers than before, a few clips around this place
            are drawn twice or left out; otherwise none.
    """
    dataset = torch_loader_of(loader).dataset
    assert isinstance(dataset, ToIterableDataset)
    own_clips = -(-(num_clips - comm.get_rank()) // comm.get_world_size())
    dataset.sampler.go_on_behind(max(0, own_clips))


class ResumableSampler(Sampler[int]):
    """A sampler of detectron2 that can start behind what its process has drawn.

    Workers of a loader load shares of the sampler's items, and take turns in handing items over. In
    batches of wide and of high clips some items wait for others of their kind. All of that is
    followed, so that the batches after a resume are those of an uninterrupted run.

    Args:
        sampler: of one process; endless, and the same whenever it is iterated.
        is_wide: per record, in which of the two groups it is.
        batch_size: clips of a batch of this process.
        num_workers: of the loader.
        items_per_turn: items that a worker hands over before the next one does.
        items_per_share: items that follow each other in the sampler and in a worker.
    """

    def __init__(
        self,
        sampler: Iterable[int],
        *,
        is_wide: np.ndarray,
        batch_size: int,
        num_workers: int,
        items_per_turn: int,
        items_per_share: int,
    ):
        self.sampler = sampler
        self._is_wide = is_wide
        self._batch_size = batch_size
        places = np.arange(max(1, num_workers) * max(items_per_turn, items_per_share))
        turn, place_in_turn = np.divmod(places, items_per_turn)
        turn, worker = np.divmod(turn, max(1, num_workers))
        share, place_in_share = np.divmod(turn * items_per_turn + place_in_turn, items_per_share)
        # Item k of a block is handed over from this place of the block in the sampler.
        self._order = (share * max(1, num_workers) + worker) * items_per_share + place_in_share
        self._waiting: list[int] = []
        self._num_drawn = 0

    def go_on_behind(self, num_clips: int) -> None:
        """Leave out what was drawn for the first clips of this process.

        Args:
            num_clips: their number.
        """
        num_batches = num_clips // self._batch_size
        self._num_drawn = 0
        groups: dict[bool, list[int]] = {True: [], False: []}
        for index in self._handed_over() if num_batches else ():
            self._num_drawn += 1
            group = groups[bool(self._is_wide[index])]
            group.append(index)
            if len(group) == self._batch_size:
                group.clear()
                num_batches -= 1
                if num_batches == 0:
                    break
        self._waiting = groups[True] + groups[False]

    def __iter__(self) -> Iterator[int]:
        """Return the numbers of the records, without an end."""
        if not self._num_drawn:
            return iter(self.sampler)
        rest = itertools.islice(self._handed_over(), self._num_drawn, None)
        return _rearranged(itertools.chain(self._waiting, rest), np.argsort(self._order))

    def _handed_over(self) -> Iterator[int]:
        """Return the items in the order in which the loader has them."""
        return _rearranged(self.sampler, self._order)


def _rearranged(items: Iterable[int], order: np.ndarray) -> Iterator[int]:
    """Return the items of each block in another order."""
    places = order.tolist()
    stream = iter(items)
    while block := list(itertools.islice(stream, len(places))):
        yield from (block[place] for place in places)
