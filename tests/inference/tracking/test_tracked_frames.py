import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.inference import DetectedFrame, KeyFrameResult
from tubedet.inference.tracking import PersonTracker, tracked_frames

IMAGE = np.zeros((100, 200, 3), np.uint8)


def key(index, time, x):
    instances = Instances(
        (100, 200),
        pred_boxes=Boxes(torch.tensor([[x, 10.0, x + 20, 50]])),
        scores=torch.ones(1),
        action_scores=torch.full((1, 2), 0.5),
    )
    return KeyFrameResult(index, time, instances)


def test_boxes_move_between_key_frames_and_hold_before_and_behind_them():
    first, second = key(0, 1.0, 10.0), key(1, 2.0, 20.0)
    around = [
        (0.0, first, None),  # no key frame before
        (1.0, first, second),
        (1.3, first, second),
        (2.0, second, None),
        (2.7, second, None),
    ]
    frames = (DetectedFrame(i, *x[:1], IMAGE, *x[1:]) for i, x in enumerate(around))
    tracked = list(tracked_frames(frames, PersonTracker()))
    lefts = [t.persons.pred_boxes.tensor[0, 0].item() for t in tracked]
    assert lefts == pytest.approx([10, 10, 13, 20, 20])
    assert [t.frame.time for t in tracked] == [x[0] for x in around]
    assert [t.persons.person_ids.tolist() for t in tracked] == [[0]] * 5


def test_every_result_comes_once_in_order_with_its_persons():
    keys = [key(i, float(i), 10.0 + i) for i in range(5)]
    # Result 2 is only ever seen as the one behind a frame; frames 3 and 4 see two new ones.
    around = [(0, 1), (0, 1), (1, 2), (3, 4), (4, None)]
    frames = [
        DetectedFrame(i, a + 0.5, IMAGE, keys[a], None if b is None else keys[b])
        for i, (a, b) in enumerate(around)
    ]
    tracker = PersonTracker()
    tracked = list(tracked_frames(frames, tracker))
    assert [[result.index for result, _ in t.keys] for t in tracked] == [
        [0, 1],
        [],
        [2],
        [3, 4],
        [],
    ]
    for t in tracked:
        for result, persons in t.keys:
            assert persons.person_ids.tolist() == [0]
            assert persons.pred_boxes.tensor[0, 0].item() == 10 + result.index
    assert tracker.num_persons == 1


def test_frames_are_taken_one_at_a_time():
    taken = []

    def frames():
        result = key(0, 0.0, 10.0)
        for index in range(3):
            taken.append(index)
            yield DetectedFrame(index, index / 10, IMAGE, result, None)

    for number, tracked in enumerate(tracked_frames(frames(), PersonTracker())):
        assert tracked.frame.index == number and taken == list(range(number + 1))
