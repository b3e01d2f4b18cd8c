import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.inference import KeyFrameResult
from tubedet.inference.tracking import PersonTracker

DETECTIONS = Path(__file__).resolve().parents[3] / (
    "../shared/data/clips/pets09_s2l1_person_detections.txt"
)


def key_frame(index, boxes, *, time=None, scores=None, actions=None, size=(100, 200)):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    instances = Instances(
        size,
        pred_boxes=Boxes(boxes),
        scores=torch.ones(len(boxes)) if scores is None else torch.tensor(scores),
        action_scores=torch.zeros(len(boxes), 2) if actions is None else torch.tensor(actions),
    )
    return KeyFrameResult(index, float(index if time is None else time), instances)


def ids_of(tracker, index, boxes, **kwargs):
    return tracker.update(key_frame(index, boxes, **kwargs)).person_ids.tolist()


def person(x, y=40, height=40):
    return [x, y, x + height / 2, y + height]


def test_persons_who_pass_each_other_keep_their_ids():
    tracker = PersonTracker()
    for step in range(12):
        boxes = [person(10 + 12 * step), person(150 - 12 * step, y=10)]
        # The order of the queries means nothing.
        order = [0, 1] if step % 2 else [1, 0]
        ids = ids_of(tracker, step, [boxes[i] for i in order])
        assert [ids[order.index(i)] for i in (0, 1)] == [1, 0]  # the first key frame came reversed
    assert tracker.num_persons == 2


def test_a_detection_is_linked_to_the_best_partner():
    tracker = PersonTracker(margin=0.0)
    assert ids_of(tracker, 0, [person(10), person(18)]) == [0, 1]
    # Both overlap with person 0, who is listed first, by more than the threshold.
    assert ids_of(tracker, 1, [person(17), person(11)]) == [1, 0]


def test_a_step_aside_is_followed_because_of_the_margin():
    for margin, expected in ((0.5, [0]), (0.0, [1])):
        tracker = PersonTracker(margin=margin)
        ids_of(tracker, 0, [person(10)])
        assert ids_of(tracker, 1, [person(42)]) == expected


def test_ids_survive_short_gaps_and_are_never_given_twice():
    tracker = PersonTracker(max_missed=2)
    assert ids_of(tracker, 0, [person(10), person(150)]) == [0, 1]
    for index in (1, 2):
        assert ids_of(tracker, index, [person(150)]) == [1]
    assert ids_of(tracker, 3, [person(10), person(150)]) == [0, 1]
    for index in (4, 5, 6):
        assert ids_of(tracker, index, [person(150)]) == [1]
    assert ids_of(tracker, 7, [person(10), person(150)]) == [2, 1]
    for index in range(8, 12):
        assert ids_of(tracker, index, []) == []
    assert ids_of(tracker, 12, [person(150)]) == [3]
    assert tracker.num_persons == 4


def test_nothing_at_first_and_somebody_later():
    tracker = PersonTracker()
    assert ids_of(tracker, 0, []) == []
    assert ids_of(tracker, 1, [person(10)]) == [0]


def test_only_persons_are_kept_and_the_result_is_not_changed():
    nan = float("nan")
    boxes = [person(-5), person(50), [nan] * 4, person(300), person(90)]
    actions = [[0.5, 0.25], [1, 1], [1, 1], [1, 1], [nan, 1]]
    result = key_frame(0, boxes, scores=[0.5, 0.4, 1, 1, 1], actions=actions)
    persons = PersonTracker(0.5).update(result)
    # One below the threshold, one outside of the frame and two that are not finite are gone.
    assert persons.pred_boxes.tensor.tolist() == [[0, 40, 15, 80]]
    assert persons.scores.tolist() == [0.5] and persons.action_scores.tolist() == [[0.5, 0.25]]
    assert persons.person_ids.dtype == torch.int64
    assert result.instances.pred_boxes.tensor[0].tolist() == person(-5)
    assert len(result.instances) == 5


def test_action_scores_are_averaged_exponentially_along_the_track():
    tracker = PersonTracker(smoothing=2.0)
    times, raw = [0.0, 1.0, 1.5, 4.0], [1.0, 0.0, 0.5, 0.25]
    expected = [1.0]
    for before, after, score in zip(times, times[1:], raw[1:]):
        weight = 1 - math.exp(-(after - before) / 2.0)
        expected.append(expected[-1] + weight * (score - expected[-1]))
    for index, (time, score) in enumerate(zip(times, raw)):
        boxes, actions = [person(10)], [[score, 0.0]]
        if index == 3:  # somebody new has the own scores
            boxes, actions = [*boxes, person(100)], [*actions, [0.5, score]]
        found = tracker.update(key_frame(index, boxes, time=time, actions=actions)).action_scores
        assert found[0].tolist() == pytest.approx([expected[index], 0.0])
    assert found[1].tolist() == [0.5, 0.25]
    unchanged = PersonTracker(smoothing=0)
    for index in (0, 1):
        result = key_frame(index, [person(10)], actions=[[1.0 - index, 0.3]])
        assert unchanged.update(result).action_scores[0].tolist() == pytest.approx([1 - index, 0.3])


def test_memory_does_not_grow_with_the_number_of_persons():
    tracker = PersonTracker()
    for index in range(300):
        ids_of(tracker, index, [person(150 * (index % 2), y=40 * (index // 2 % 2), height=20)])
    assert tracker.num_persons > 100
    assert len(tracker._seen) <= 3 and len(tracker._linker._prev_instances) <= 3


@pytest.mark.parametrize(
    "arguments",
    [{"person_threshold": 1.5}, {"smoothing": -1}, {"margin": float("nan")}, {"max_missed": -1}],
)
def test_wrong_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        PersonTracker(**arguments)


@pytest.mark.skipif(not DETECTIONS.exists(), reason="no real detections here")
@pytest.mark.parametrize("step, max_missed, most_tracks", [(2, 10, 46), (5, 4, 45), (10, 2, 55)])
def test_pedestrians_of_pets_keep_their_ids(step, max_missed, most_tracks):
    """19 pedestrians cross the scene, are hidden by a sign and each other, and come back."""
    rows = np.loadtxt(DETECTIONS, delimiter=",")
    tracker = PersonTracker(max_missed=max_missed)
    lengths = defaultdict(int)
    for index, frame in enumerate(range(1, 796, step)):
        x, y, width, height, score = rows[rows[:, 0] == frame, 2:7].T
        boxes = np.stack([x, y, x + width, y + height], axis=1)
        instances = Instances(
            (576, 768),
            pred_boxes=Boxes(torch.tensor(boxes).float()),
            scores=torch.tensor(score),
            action_scores=torch.zeros(len(x), 1),
        )
        result = KeyFrameResult(index, index * step / 10, instances)
        ids = tracker.update(result).person_ids.tolist()
        assert len(ids) == len(set(ids)) == len(x)
        for person_id in ids:
            lengths[person_id] += 1
    assert tracker.num_persons == len(lengths) <= most_tracks
    # Half of all detections belong to the 19 longest tracks at least.
    longest = sorted(lengths.values())[-19:]
    assert sum(longest) > 0.5 * sum(lengths.values())


def test_persons_who_come_with_a_number_keep_it():
    tracker = PersonTracker(smoothing=1.0)
    for step, ids in enumerate(([7, 3], [3, 7], [7])):
        boxes = [person(10) for _ in ids]  # where they are does not count
        frame = key_frame(step, boxes, actions=[[float(i == 7), 0.0] for i in ids])
        frame.instances.person_ids = torch.tensor(ids)
        persons = tracker.update(frame)
        assert persons.person_ids.tolist() == ids
        assert persons.action_scores[:, 0].tolist() == [float(i == 7) for i in ids]
    assert tracker.num_persons == 2


def test_numbers_go_with_the_boxes_that_count():
    frame = key_frame(0, [person(10), person(90)], scores=[0.2, 0.9])
    frame.instances.person_ids = torch.tensor([7, 3])
    assert PersonTracker().update(frame).person_ids.tolist() == [3]


def test_attention_goes_with_the_person_and_is_not_averaged():
    for time, values in enumerate(([1.0, 2.0], [5.0, 6.0])):
        frame = key_frame(time, [person(10), person(90)], scores=[0.2, 0.9])
        frame.instances.action_attention = torch.tensor(values).view(2, 1, 1, 1)
        persons = PersonTracker(smoothing=1.0).update(frame)
        assert persons.action_attention.flatten().tolist() == values[1:]
