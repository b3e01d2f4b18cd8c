"""The order of training clips, which a resumed run takes up where the run before ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from detectron2.data.common import AspectRatioGroupedDataset, ToIterableDataset
from detectron2.utils import comm
from torch.utils.data import Sampler

from .loading import torch_loader_of
from .size_groups import Size, SizeGroupedBatches, SizeGroups, padded_size


def with_resumable_order(
    loader: Iterable, records: Sequence[dict], clip_size: Callable[[dict], Size] | None = None
) -> Iterable:
    """Let :func:`go_on_behind` start a loader of training clips later.

    Args:
        loader: of detectron2's ``build_detection_train_loader``, or :class:`.SizeGroupedBatches`;
            its sampler is replaced, the order of its clips stays.
        records: dataset dicts that it loads. ``height`` and ``width`` say in which group detectron2
            puts a clip; without them, all clips are taken as wide ones.
        clip_size: of :class:`.SizeGroupedBatches`: from a dataset dict to (height, width) of its
            clip. Where sizes are drawn, a few clips around the place of a resume may be drawn twice
            or left out.
    """
    inner = torch_loader_of(loader)
    if not isinstance(inner.dataset, ToIterableDataset):
        raise TypeError("the loader is none of detectron2's build_detection_train_loader")
    grouped, max_waiting = isinstance(loader, AspectRatioGroupedDataset), None
    kinds: list[Size] = [(0, 0)] * len(records)
    if isinstance(loader, SizeGroupedBatches):
        assert clip_size is not None
        kinds = [padded_size(clip_size(record), loader.unit) for record in records]
        max_waiting = loader.max_waiting
    elif grouped:
        kinds = [(0, int(r.get("width", 1) > r.get("height", 0))) for r in records]
    batch_size = getattr(loader, "batch_size", None) or 1  # of PyTorch's loader, if it groups none
    inner.dataset.sampler = ResumableSampler(
        inner.dataset.sampler,
        kinds=kinds,
        batch_size=batch_size,
        max_waiting=max_waiting,
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
    batches of wide and of high clips, or of clips of one size, some items wait for others of their
    kind. All of that is followed, so that the batches after a resume are those of an uninterrupted
    run.

    Args:
        sampler: of one process; endless, and the same whenever it is iterated.
        kinds: per record, in which group of :class:`.SizeGroups` it is.
        batch_size: clips of a batch of this process.
        max_waiting: of :class:`.SizeGroups`.
        num_workers: of the loader.
        items_per_turn: items that a worker hands over before the next one does.
        items_per_share: items that follow each other in the sampler and in a worker.
    """

    def __init__(
        self,
        sampler: Iterable[int],
        *,
        kinds: Sequence[Size],
        batch_size: int,
        max_waiting: int | None = None,
        num_workers: int,
        items_per_turn: int,
        items_per_share: int,
    ):
        self.sampler = sampler
        self._kinds = kinds
        self._batch_size = batch_size
        self._max_waiting = max_waiting
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
        groups: SizeGroups[int] = SizeGroups(self._batch_size, self._max_waiting)
        for index in self._handed_over() if num_batches else ():
            self._num_drawn += 1
            if groups.add(index, self._kinds[index]):
                num_batches -= 1
                if num_batches == 0:
                    break
        self._waiting = groups.waiting()

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
