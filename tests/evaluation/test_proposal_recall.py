"""How many annotated persons given boxes find."""

import numpy as np
import pytest
from detectron2.structures import BoxMode

from tubedet.evaluation.proposal_recall import proposal_recall


def record(annotated, proposed, mode=BoxMode.XYXY_ABS):
    return {
        "annotations": [{"bbox": box, "bbox_mode": BoxMode.XYXY_ABS} for box in annotated],
        "proposal_boxes": np.array(proposed, float).reshape(-1, 4),
        "proposal_bbox_mode": mode,
    }


def test_recall_counts_annotated_boxes_that_overlap_enough():
    records = [
        record([[0, 0, 10, 10], [50, 0, 60, 10]], [[0, 0, 10, 5], [50, 0, 60, 4.9]]),  # 0.5, 0.49
        record([[0, 0, 10, 10]], []),
        record([], [[0, 0, 10, 10]]),
        record([[0, 0, 10, 10]], [[90, 0, 99, 9], [1, 0, 10, 10]]),
    ]
    assert proposal_recall(records) == pytest.approx(2 / 4)
    assert proposal_recall(records, 0.45) == pytest.approx(3 / 4)


def test_boxes_of_other_units_do_not_count():
    assert proposal_recall([record([[0, 0, 10, 10]], [[0, 0, 1, 1]], BoxMode.XYXY_REL)]) is None
    assert proposal_recall([]) is None
