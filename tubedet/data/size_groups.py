"""Training batches of clips that are padded to one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from detectron2.data import transforms as T
from detectron2.data.common import AspectRatioGroupedDataset

Item = TypeVar("Item")
Size = tuple[int, int]

# Clips that wait for others of their size, in batches. A clip of the loader's workers keeps some
# open files of the process until it is used.
_MAX_WAITING = 4


class SizeGroups(Generic[Item]):
    """Items that wait until there are enough of one size for a batch.

    Where too many wait, a batch of different sizes goes: the item that has waited longest, with
    others of its size and of the sizes nearest to it.

    Args:
        batch_size: items of a batch.
        max_waiting: items that may wait; None: any number.
    """

    def __init__(self, batch_size: int, max_waiting: int | None = None):
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._groups: dict[Size, list[tuple[int, Item]]] = {}
        self._num_waiting = self._num_added = 0

    def add(self, item: Item, size: Size) -> list[Item]:
        """Take an item.

        Args:
            item: anything.
            size: of its group, (height, width).

        Returns:
            a batch, or nothing.
        """
        group = self._groups.setdefault(size, [])
        group.append((self._num_added, item))
        self._num_added += 1
        self._num_waiting += 1
        if len(group) == self._batch_size:
            return self._taken([size])
        if self._max_waiting is not None and self._num_waiting > self._max_waiting:
            return self._taken(self._nearest_to_oldest())
        return []

    def waiting(self) -> list[Item]:
        """Return the items that wait, in the order in which they came."""
        items = sorted((pair for group in self._groups.values() for pair in group), key=_number)
        return [item for _, item in items]

    def _nearest_to_oldest(self) -> list[Size]:
        """Sizes that wait: that of the item which has waited longest, then the nearest ones."""
        ages = {size: group[0][0] for size, group in self._groups.items()}
        height, width = min(ages, key=ages.__getitem__)
        return sorted(ages, key=lambda s: (abs(s[0] - height) + abs(s[1] - width), ages[s]))

    def _taken(self, sizes: list[Size]) -> list[Item]:
        """Take a batch from groups, one after the other."""
        batch: list[Item] = []
        for size in sizes:
            group = self._groups[size]
            room = self._batch_size - len(batch)
            batch += [item for _, item in group[:room]]
            del group[:room]
            if not group:
                del self._groups[size]
        self._num_waiting -= len(batch)
        return batch


def _number(pair: tuple[int, Any]) -> int:
    return pair[0]


class SizeGroupedBatches(AspectRatioGroupedDataset):
    """Batches of training clips whose sides round up to the same multiples of a number.

    A model that pads clips to these multiples then sees of a clip what it sees of it alone. ViTs
    have no mask for padding: there the company of a clip changes its features.

    Args:
        loader: of single inputs, as detectron2 makes it for its grouping by aspect ratio.
        batch_size: inputs of a batch.
        unit: pixels of which the padded sides are multiples.

    Attributes:
        max_waiting: clips that may wait for others of their size; beyond, a batch of the nearest
            sizes goes.
    """

    def __init__(self, loader: Iterable[dict], batch_size: int, *, unit: int):
        super().__init__(loader, batch_size)
        self.unit = unit
        self.max_waiting = _MAX_WAITING * batch_size

    def __iter__(self) -> Iterator[list[dict]]:
        """Return the batches, without an end if the loader has none."""
        groups: SizeGroups[dict] = SizeGroups(self.batch_size, self.max_waiting)
        for item in self.dataset:
            if batch := groups.add(item, padded_size(_clip_size(item), self.unit)):
                yield batch


def padded_size(size: Size, unit: int) -> Size:
    """Round both sides of a clip up to multiples of a number.

    Args:
        size: (height, width), pixels.
        unit: the number.
    """
    height, width = size
    return -(-height // unit) * unit, -(-width // unit) * unit


def _clip_size(item: dict) -> Size:
    """Size of the clip of an input, also of one whose crop is left for the device."""
    if "clip" in item:
        height, width = item["clip"].shape[-2:]
        return height, width
    height, width = item["frames"].shape[1:3]
    for transform in item["deferred"]:
        if isinstance(transform, T.CropTransform):
            height, width = transform.h, transform.w
    return height, width
