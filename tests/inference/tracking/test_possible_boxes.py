import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.inference import DetectedFrame, KeyFrameResult
from tubedet.inference.tracking import PossibleBoxes, TrackedFrame

_IMAGE = np.zeros((100, 200, 3), np.uint8)


def _persons(lefts):
    """Persons by id, 20 x 40 pixels, of frames of 200 x 100."""
    boxes = [[x, 10.0, x + 20, 50] for x in lefts.values()]
    return Instances(
        (100, 200),
        pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
        person_ids=torch.tensor(list(lefts), dtype=torch.int64),
    )


def _boxes(frames, max_missed=2):
    """Pixels of the boxes of frames (time, key frame before, after), a key frame per second."""
    possible = PossibleBoxes(max_missed)
    for time, *lefts in frames:
        before = int(time)
        keys = [KeyFrameResult(before + n, float(before + n), _IMAGE) for n in range(len(lefts))]
        frame = DetectedFrame(0, time, _IMAGE, keys[0], keys[1] if len(keys) > 1 else None)
        around = tuple(map(_persons, lefts))
        boxes = possible.on(TrackedFrame(frame, around[0], (), around))
        yield sorted((boxes * (200, 100, 200, 100)).round(3).tolist())


def test_boxes_on_the_way_are_larger():
    still, moving = {0: 50.0}, {0: 90.0}
    at_key, halfway, quarter = _boxes(
        [(0.0, still, moving), (0.5, still, moving), (0.25, still, moving)]
    )
    assert at_key == [[50, 10, 70, 50]]
    # A quarter of the 40 pixels on each side of 70..90.
    assert halfway == [[60, 10, 100, 50]]
    assert quarter == [[52.5, 10, 87.5, 50]]


def test_who_is_in_one_of_two_key_frames_is_there_all_the_time():
    one, other = {1: 20.0}, {2: 120.0}
    for boxes in _boxes([(t, one, other) for t in (0.0, 0.1, 0.5, 0.9)]):
        assert boxes == [[20, 10, 40, 50], [120, 10, 140, 50]]
    # After the last key frame there are those of that one.
    assert list(_boxes([(0.7, one)])) == [[[20, 10, 40, 50]]]


def test_who_is_lost_stays_for_some_key_frames():
    seen, nobody = {5: 60.0}, {}
    frames = [(0.5, seen, nobody), (1.5, nobody, nobody), (2.5, nobody, nobody)]
    frames += [(3.5, nobody, nobody)]
    assert [len(boxes) for boxes in _boxes(frames)] == [1, 1, 1, 0]
    assert [len(boxes) for boxes in _boxes(frames, max_missed=0)] == [1, 0, 0, 0]
    # Found again at 2 s, the person was on the way there: at 75..95, and a bit around it.
    frames = [(0.5, seen, nobody), (1.5, nobody, {5: 80.0}), (2.5, {5: 80.0}, nobody)]
    boxes = [[box[0], box[2]] for (box,) in _boxes(frames)]
    assert boxes[:2] == [[60, 80], [71.25, 98.75]]
    # Lost once more: from there to 5 pixels farther at the speed of 10 pixels a second.
    assert boxes[2] == [78.75, 106.25]


def test_two_boxes_of_one_given_id_are_both_kept():
    persons = _persons({4: 10.0, 9: 100.0})
    persons.person_ids[:] = 4
    frame = DetectedFrame(0, 0.0, _IMAGE, KeyFrameResult(0, 0.0, persons), None)
    boxes = PossibleBoxes(2).on(TrackedFrame(frame, persons, (), (persons,)))
    assert boxes[:, 0].tolist() == pytest.approx([0.05, 0.5])
