"""Average precision of a part of the detections and of the ground truth."""

import math

import numpy as np
import pytest

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.frame_matches import FrameMatches, mean_over_classes


@pytest.fixture
def matches():
    truth = parse_ava_csv([f"film,902,0,0,1,0.{n},1" for n in range(1, 5)], source="truth")
    scores = (0.2, 0.9, 0.5, 0.7)
    found = parse_ava_csv([f"film,902,0,0,1,1,1,{s}" for s in scores], source="found")
    return FrameMatches(
        groundtruth=truth,
        predictions=found,
        class_names=("sit", "run", "swim"),
        gt_rows=np.array([0, 2, 3]),
        gt_keys=np.zeros(3, dtype=int),
        gt_classes=np.array([0, 0, 2]),
        rows=np.array([1, 2, 3]),
        keys=np.zeros(3, dtype=int),
        classes=np.array([0, 0, 1]),
        true_positive=np.array([False, True, False]),
        num_key_frames=1,
    )


def test_rows_choose_boxes_and_scores(matches):
    assert matches.scores.tolist() == [0.9, 0.5, 0.7]
    assert matches.gt_boxes[:, 3].tolist() == [0.1, 0.3, 0.4]
    assert matches.boxes.shape == (3, 4)
    assert matches.gt_counts.tolist() == [2, 0, 1]


def test_average_precision_of_all_and_of_a_part(matches):
    aps = matches.average_precisions()
    assert aps[0] == pytest.approx(0.25) and math.isnan(aps[1]) and aps[2] == 0
    part = matches.average_precisions(
        kept=np.array([False, True, True]), gt_kept=np.array([False, True, False])
    )
    assert part[0] == 1.0 and np.isnan(part[1:]).all()
    assert mean_over_classes(aps) == pytest.approx(0.125)
    assert math.isnan(mean_over_classes(np.full(3, np.nan)))


def test_curves_of_classes_with_groundtruth(matches):
    curves = matches.curves()
    assert list(curves) == [0, 2]
    assert [values.tolist() for values in curves[0]] == [[0, 0.5], [0, 0.5]]
    assert len(curves[2][0]) == 0
