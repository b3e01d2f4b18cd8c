import cv2
import numpy as np
import pytest
import torch
from detectron2.data import build_detection_train_loader

from tubedet.data.loading import (
    EqualSizeBatches,
    build_test_loader,
    with_single_threaded_workers,
)


def _threads_and_draw(record):
    return {
        "id": record["id"],
        "opencv": cv2.getNumThreads(),
        "torch": torch.get_num_threads(),
        "draw": int(np.random.randint(1 << 30)),
        "width": 8,
        "height": 4,
    }


def _records(sizes):
    return [{"id": n, "height": h, "width": w} for n, (h, w) in enumerate(sizes)]


@pytest.mark.parametrize("is_grouped", [False, True])
def test_training_workers_have_one_thread_and_numbers_of_their_own(is_grouped):
    loader = build_detection_train_loader(
        _records([(4, 8)] * 8),
        mapper=_threads_and_draw,
        total_batch_size=2,
        num_workers=2,
        aspect_ratio_grouping=is_grouped,
    )
    assert with_single_threaded_workers(loader) is loader
    batches = iter(loader)
    items = [item for _ in range(4) for item in next(batches)]
    assert {(item["opencv"], item["torch"]) for item in items} == {(1, 1)}
    # detectron2 seeds numpy anew in each worker, else both would draw the same.
    assert len({item["draw"] for item in items}) == len(items)
    with pytest.raises(TypeError, match="list is no loader"):
        with_single_threaded_workers([])


def test_evaluation_reads_every_key_frame_once_in_order():
    records = _records([(4, 8)] * 5 + [(8, 4)] * 2)
    for num_workers in (0, 2):
        loader = build_test_loader(
            records, mapper=_threads_and_draw, batch_size=3, num_workers=num_workers
        )
        batches = list(loader)
        assert [[item["id"] for item in batch] for batch in batches] == [[0, 1, 2], [3, 4], [5, 6]]
        assert len(loader) == 3
    assert {(item["opencv"], item["torch"]) for batch in batches for item in batch} == {(1, 1)}


def test_one_size_to_a_batch():
    records = _records([(4, 8), (4, 8), (4, 6), (4, 8), (4, 8), (4, 8)])
    batches = EqualSizeBatches(range(6), records, 2)
    assert list(batches) == [[0, 1], [2], [3, 4], [5]] and len(batches) == 4
    assert list(EqualSizeBatches(range(2, 5), records, 9)) == [[2], [3, 4]]
    assert list(EqualSizeBatches([], records, 2)) == []
    without_sizes = [{"video": name} for name in "aabbb"]
    assert list(EqualSizeBatches(range(5), without_sizes, 4)) == [[0, 1], [2, 3, 4]]
    with pytest.raises(ValueError, match="TEST.BATCH_SIZE is 0"):
        EqualSizeBatches([], [], 0)
