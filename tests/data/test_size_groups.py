import random

import pytest
import torch
from detectron2.data import transforms as T

from tubedet.data.size_groups import SizeGroupedBatches, SizeGroups, padded_size


def _batches(groups, items):
    """Add (name, size) pairs; return the batches that came."""
    return [batch for name, size in items if (batch := groups.add(name, size))]


def test_a_batch_has_one_size():
    groups = SizeGroups(2)
    wide, high = (32, 64), (64, 32)
    items = [("a", wide), ("b", high), ("c", wide), ("d", wide), ("e", high), ("f", high)]
    assert _batches(groups, items) == [["a", "c"], ["b", "e"]]
    assert groups.waiting() == ["d", "f"]


def test_when_too_many_wait_the_oldest_goes_with_the_nearest_sizes():
    groups = SizeGroups(3, max_waiting=4)
    items = [("a", (32, 64)), ("b", (32, 96)), ("c", (64, 32)), ("d", (32, 96)), ("e", (32, 128))]
    assert _batches(groups, items) == [["a", "b", "d"]]
    assert groups.waiting() == ["c", "e"]
    assert _batches(groups, [("f", (64, 32)), ("g", (32, 128))]) == []
    assert groups.add("h", (32, 32)) == ["c", "f", "h"]
    assert groups.waiting() == ["e", "g"]


def test_the_rest_of_a_group_keeps_its_age():
    groups = SizeGroups(4, max_waiting=5)
    sizes = [(32, 64), (32, 96), (32, 96), (32, 96), (99, 1), (1, 99)]
    assert _batches(groups, list(zip("abcdef", sizes))) == [["a", "b", "c", "d"]]
    groups = SizeGroups(3, max_waiting=4)
    sizes = [(32, 64), (32, 64), (64, 64), (64, 64), (1, 1)]
    assert _batches(groups, list(zip("abcde", sizes))) == [["a", "b", "c"]]
    assert groups.waiting() == ["d", "e"]
    # "d" has waited longer than "e", whose group is older than that of "f".
    assert _batches(groups, [("f", (1, 1)), ("g", (5, 5)), ("h", (70, 64))]) == [["d", "h", "g"]]


def test_no_clip_is_lost_and_no_more_wait_than_may():
    rng = random.Random(0)
    groups, seen = SizeGroups(4, max_waiting=16), []
    for number in range(2000):
        batch = groups.add(number, (rng.randrange(6), rng.randrange(6)))
        assert len(batch) in (0, 4) and len(groups.waiting()) <= 16
        seen += batch
    assert sorted(seen + groups.waiting()) == list(range(2000))


@pytest.mark.parametrize(
    "size, unit, expected",
    [((256, 341), 32, (256, 352)), ((256, 341), 16, (256, 352)), ((1, 33), 32, (32, 64))]
    + [((256, 340), 1, (256, 340)), ((0, 0), 32, (0, 0))],
)
def test_padded_sizes(size, unit, expected):
    assert padded_size(size, unit) == expected


def test_clips_that_are_padded_to_one_size_share_a_batch():
    def clip(height, width, name):
        return {"clip": torch.empty(3, 2, height, width), "name": name}

    crop = T.CropTransform(3, 0, 30, 20, 90, 80)
    deferred = [T.HFlipTransform(90), crop]
    late = {"frames": torch.empty(2, 80, 90, 3), "deferred": deferred, "name": "late"}
    items = [clip(32, 33, "a"), clip(31, 32, "b"), clip(20, 64, "c"), late]
    loader = SizeGroupedBatches(items, 2, unit=32)
    assert loader.max_waiting == 8
    assert [[item["name"] for item in batch] for batch in loader] == [["a", "c"], ["b", "late"]]
