"""Person boxes from a function of a picture, and what a model may be given."""

import numpy as np
import pytest

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference.person_boxes import ImageDetector
from tubedet.inference.person_boxes.sources import check_person_boxes

IMAGE = np.zeros((100, 200, 3), np.uint8)


def found(rows):
    with ImageDetector(lambda image: rows).opened(None, every=1.0, start=0.0, end=None) as find:
        return find(0.0, IMAGE)


def test_pixels_become_fractions_of_the_picture():
    persons = found([[20, 10, 100, 50, 0.75], [0, 0, 200, 100, 0.5]])
    assert persons.boxes.tolist() == [[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1]]
    assert persons.scores.tolist() == [0.75, 0.5]


def test_boxes_without_a_score_have_one():
    assert found(np.array([[20, 10, 100, 50]])).scores.tolist() == [1.0]
    assert found([]).boxes.shape == (0, 4)


@pytest.mark.parametrize("rows", [[1, 2, 3, 4], [[1, 2, 3]], [[1, 2, 3, float("nan")]]])
def test_fault_other_arrays_are_refused(rows):
    with pytest.raises(
        UserError, match=r"returned an array .*; return finite \(n, 4\) or \(n, 5\)"
    ):
        found(rows)


def test_fault_boxes_and_model_must_go_together():
    cfg = load_config("configs/quick_schedules/RoI_toy.yaml")
    with pytest.raises(UserError, match="RoIActionDetector needs the boxes of persons .*--boxes"):
        check_person_boxes(cfg, None)
    check_person_boxes(cfg, lambda image: [])
    cfg = load_config("configs/quick_schedules/TubeR_toy.yaml")
    with pytest.raises(UserError, match="TubeR finds persons itself .*: leave out --boxes"):
        check_person_boxes(cfg, lambda image: [])
    check_person_boxes(cfg, None)
