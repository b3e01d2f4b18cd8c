import itertools

import numpy as np
import pytest

from tubedet.inference.drawing.label_placement import leader, place_label


def _common_area(one, other):
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return np.clip(sides, 0, None).prod()


def _place_all(boxes, size, frame_size):
    labels = []
    for row, box in enumerate(boxes):
        others = [*boxes[:row], *boxes[row + 1 :]]
        labels.append(place_label(size, box, frame_size, labels=labels, others=others))
    return labels


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_a_crowd_of_twelve_do_not_overlap(seed):
    """They take 15 % of the frame, all near its middle."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform((300, 200), (700, 350), (12, 2))
    boxes = list(np.concatenate([corners, corners + (60, 160)], axis=1))
    labels = _place_all(boxes, (150, 77), (1280, 720))
    assert all(_common_area(a, b) == 0 for a, b in itertools.combinations(labels, 2))
    assert all((label[:2] >= 0).all() and (label[2:] <= (1280, 720)).all() for label in labels)
    assert {tuple(label[2:] - label[:2]) for label in labels} == {(150, 77)}
    again = _place_all(boxes, (150, 77), (1280, 720))
    assert np.array_equal(labels, again)


def test_the_only_free_place_is_found():
    """Between two columns of labels; no edge of a box is there."""
    labels = [np.array([0, 0, 130, 200]), np.array([171, 0, 300, 200])]
    labels += [np.array([130, 0, 171, 90]), np.array([130, 111, 171, 200])]
    label = place_label((40, 20), np.array([10, 150, 60, 190]), (300, 200), labels=labels)
    assert label.tolist() in ([130, 90, 170, 110], [131, 91, 171, 111], [130, 91, 170, 111])


def test_heads_of_others_stay_visible():
    """Above the box is the head of somebody who stands behind; the label goes elsewhere."""
    box, behind = np.array([100, 150, 140, 250]), np.array([95, 60, 150, 200])
    label = place_label((60, 30), box, (400, 300), others=[behind])
    assert _common_area(label, behind) == 0 and leader(label, box, 1.0) is None
    assert place_label((60, 30), box, (400, 300)).tolist() == [100, 120, 160, 150]


def test_a_label_keeps_its_place_while_others_are_little_better():
    box, size, frame = np.array([100, 100, 140, 200]), (60, 30), (400, 300)
    right = np.array([140, 170, 200, 200])
    # Away from the place above, which is better by 1.0.
    assert place_label(size, box, frame, last=(right, box)).tolist() == [100, 70, 160, 100]
    # The place above, moved along the upper side of the box by a quarter of the label.
    shifted = np.array([115, 70, 175, 100])
    assert place_label(size, box + 8, frame, last=(shifted, box)).tolist() == [123, 78, 183, 108]
    # A line more than before grows upwards.
    grown = place_label((60, 46), box, frame, last=(shifted, box))
    assert grown.tolist() == [115, 54, 175, 100]


def test_a_line_leads_from_a_label_to_its_box():
    box = np.array([100.0, 100.0, 140.0, 200.0])
    assert leader(np.array([100.0, 70.0, 160.0, 100.0]), box) is None
    assert leader(np.array([100.0, 70.0, 160.0, 98.0]), box, 2.0) is None
    start, end = leader(np.array([120.0, 20.0, 180.0, 50.0]), box)
    assert start.tolist() == [130, 50] and end.tolist() == [130, 100]
    start, end = leader(np.array([200.0, 20.0, 260.0, 50.0]), box)
    assert start.tolist() == [200, 50] and end.tolist() == [140, 100]
