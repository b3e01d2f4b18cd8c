"""Fault resume-repeats-data: a resumed training goes on behind the key frames it has seen."""

import itertools

import pytest
import torch
from detectron2.data import build as detectron2_build
from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader

from tubedet.data.loading import torch_loader_of
from tubedet.data.resumed_sampling import go_on_behind, with_resumable_order
from tubedet.data.size_groups import SizeGroupedBatches

# Wide and high clips, and one that is square.
SIZES = [(4, 8), (8, 4), (4, 8), (4, 8), (8, 4), (6, 6), (4, 8)]


def _records(with_sizes=True):
    sizes = [{"height": h, "width": w} if with_sizes else {} for h, w in SIZES]
    return [{"id": n, **size} for n, size in enumerate(sizes)]


def _mapped(record):
    height, width = SIZES[record["id"]]
    return {**record, "height": height, "width": width}


def _loader(*, grouped=True, num_workers=0, batch_size=2, records=None):
    records = records or _records()
    return build_detection_train_loader(
        records,
        mapper=_mapped,
        sampler=TrainingSampler(len(records), seed=7),
        total_batch_size=batch_size,
        aspect_ratio_grouping=grouped,
        num_workers=num_workers,
    )


def _ids(loader, num_batches):
    """The numbers of the records of the first batches."""
    return [[r["id"] for r in batch] for batch in itertools.islice(loader, num_batches)]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_batches_after_a_resume_are_those_of_a_whole_run(grouped, num_workers):
    whole = _ids(_loader(grouped=grouped, num_workers=num_workers), 14)
    for num_batches in (0, 1, 5, 9):
        loader = _loader(grouped=grouped, num_workers=num_workers)
        loader = with_resumable_order(loader, _records())
        go_on_behind(loader, 2 * num_batches)
        assert _ids(loader, 14 - num_batches) == whole[num_batches:]


def _size_of(record):
    return SIZES[record["id"] % len(SIZES)]


def _sized(record):
    return {**record, "clip": torch.empty(3, 1, *_size_of(record)), "height": 1, "width": 1}


def _size_loader(*, num_workers, batch_size=3):
    records = [{"id": n} for n in range(40)]
    loader = build_detection_train_loader(
        records,
        mapper=_sized,
        sampler=TrainingSampler(len(records), seed=3),
        total_batch_size=batch_size,
        aspect_ratio_grouping=True,
        num_workers=num_workers,
    )
    loader = SizeGroupedBatches(loader.dataset, loader.batch_size, unit=2)
    loader.max_waiting = 4  # so that sizes are mixed now and then
    return loader, records


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_of_one_size_after_a_resume_are_those_of_a_whole_run(num_workers):
    whole = _ids(_size_loader(num_workers=num_workers)[0], 30)
    sizes = [{SIZES[n % len(SIZES)] for n in batch} for batch in whole]
    assert {len(found) for found in sizes} == {1, 2}
    for num_batches in (0, 1, 4, 13, 21):
        loader, records = _size_loader(num_workers=num_workers)
        go_on_behind(with_resumable_order(loader, records, _size_of), 3 * num_batches)
        assert _ids(loader, 30 - num_batches) == whole[num_batches:]


def test_a_run_that_is_not_resumed_keeps_its_order():
    sampler = torch_loader_of(with_resumable_order(_loader(num_workers=2), _records()))
    drawn = list(itertools.islice(sampler.dataset.sampler, 30))
    assert drawn == list(itertools.islice(TrainingSampler(len(SIZES), seed=7), 30))
    assert drawn[:7] != sorted(drawn[:7])


def test_clips_of_one_kind_are_drawn_once_a_round_with_another_batch_size():
    """Without sizes all are taken as wide ones."""
    records = _records(with_sizes=False)
    before = sum(_ids(_loader(grouped=False, batch_size=3, records=records), 1), [])
    loader = _loader(grouped=False, batch_size=1, records=records)
    go_on_behind(with_resumable_order(loader, records), len(before))
    after = sum(_ids(loader, 4), [])
    assert sorted(before + after) == list(range(7))


@pytest.mark.parametrize("num_clips", [6, 7])
def test_the_place_is_that_of_all_processes_together(num_clips, monkeypatch):
    """Three processes go on where others ended."""
    expected = list(itertools.islice(TrainingSampler(len(SIZES), seed=7), 30))
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr(detectron2_build, "get_world_size", lambda: 3)
    found = {}
    for rank in range(3):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        loader = _loader(grouped=False, batch_size=3)
        go_on_behind(with_resumable_order(loader, _records()), num_clips)
        found[rank] = sum(_ids(loader, 5), [])
    following = {place % 3: [] for place in range(3)}
    for place in range(num_clips, 30):
        following[place % 3].append(expected[place])
    assert found == {rank: ids[:5] for rank, ids in following.items()}


def test_a_loader_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="none of detectron2"):
        with_resumable_order(DataLoader(_records()), _records())
