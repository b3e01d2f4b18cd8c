"""Linking of frame detections to tubes."""

import numpy as np
import pytest

from tubedet.evaluation.tube_linking import link_detections

HERE, THERE = (0, 0, 10, 10), (50, 50, 60, 60)


def link(rows, **options):
    """Links rows of (video, frame, label, box, score)."""
    videos, frames, labels, boxes, scores = zip(*rows)
    options = {"min_length": 1, **options}
    return link_detections(
        np.array(videos),
        np.array(frames),
        np.array(labels),
        np.array(boxes, dtype=np.float64),
        np.array(scores),
        **options,
    )


def summary(tubes):
    return [(tube.frames.tolist(), pytest.approx(tube.score)) for tube in tubes]


def test_two_persons_and_the_mean_score():
    rows = [(0, f, 3, box, s + f / 100) for f in (1, 2, 3) for box, s in ((HERE, 0.5), (THERE, 0))]
    tubes = link(rows)[0]
    assert summary(tubes) == [([1, 2, 3], 0.52), ([1, 2, 3], 0.02)]
    assert [tube.label for tube in tubes] == [3, 3]
    assert tubes[0].boxes.tolist() == [list(HERE)] * 3
    assert tubes[1].boxes.tolist() == [list(THERE)] * 3


def test_one_missed_frame_ends_a_tube():
    assert summary(link([(0, f, 0, HERE, 0.5) for f in (1, 2, 4, 5, 6)])[0]) == [
        ([1, 2], 0.5),
        ([4, 5, 6], 0.5),
    ]
    moved = [(0, 1, 0, HERE, 0.5), (0, 2, 0, (0, 6, 10, 16), 0.5)]  # IoU 4 / 16
    assert len(link(moved)[0]) == 2
    assert len(link(moved, link_iou=0.25)[0]) == 1


def test_videos_and_classes_are_linked_apart():
    linked = link([(0, 3, 0, HERE, 0.5), (0, 4, 1, HERE, 0.6), (1, 4, 0, HERE, 0.7)])
    assert {video: summary(tubes) for video, tubes in linked.items()} == {
        0: [([3], 0.5), ([4], 0.6)],
        1: [([4], 0.7)],
    }


def test_score_and_not_overlap_chooses():
    """The best tube chooses first, and takes the best-scored box among those near enough."""
    near, exact = (0, 0, 10, 7), HERE  # IoU 0.7 and 1 with the last box
    rows = [(0, 1, 0, HERE, 0.9), (0, 1, 0, (0, 0, 10, 8), 0.8)]
    rows += [(0, 2, 0, near, 0.7), (0, 2, 0, exact, 0.6)]
    tubes = link(rows, nms_iou=1.0)[0]
    assert summary(tubes) == [([1, 2], (0.9 + 0.7) / 2), ([1, 2], (0.8 + 0.6) / 2)]
    assert tubes[0].boxes[1].tolist() == list(near)


def test_scores_of_duplicates_fall():
    duplicate, third = (0, 0, 10, 8), (0, 0, 10, 7)  # IoU 0.8, 0.7 with the best
    rows = [(0, 1, 0, duplicate, 0.5), (0, 1, 0, HERE, 0.9), (0, 1, 0, third, 0.4)]
    scores = sorted(tube.score for tube in link(rows)[0])
    # The third one is lowered by the best, not again by the duplicate (IoU 0.875).
    assert scores == pytest.approx([0.5 * 0.2, 0.4 * 0.3, 0.9])
    assert sorted(t.score for t in link(rows, max_per_frame=2)[0]) == pytest.approx([0.12, 0.9])
    # At 0.8 the duplicate stays as it is, and lowers the third one.
    scores = sorted(tube.score for tube in link(rows, nms_iou=0.8)[0])
    assert scores == pytest.approx([0.4 * 0.125, 0.5, 0.9])


def test_short_and_weak_tubes_are_dropped():
    rows = [(0, f, 0, HERE, 0.004 + 0.002 * (f == 1)) for f in range(1, 16)]
    assert link(rows) == {}  # mean below 0.005
    assert len(link(rows, min_score=0.004)[0]) == 1
    assert link(rows, min_score=0.004, min_length=16) == {}
    assert link([(0, f, 0, HERE, 0.5) for f in range(14)], min_length=15) == {}


def test_nothing_to_link():
    none = np.empty(0, dtype=np.int64)
    assert link_detections(none, none, none, np.empty((0, 4)), np.empty(0)) == {}
