import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.engine import KeyFrameResult
from tubedet.tracking import PersonTracker


@pytest.fixture
def key_frames():
    """Two key frames of a 200x50 video with their tracked persons: two of them, then nobody."""

    def instances(boxes, scores, action_scores):
        return Instances(
            (50, 200),
            pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
            scores=torch.tensor(scores),
            action_scores=torch.tensor(action_scores).reshape(-1, 3),
        )

    boxes = [[20.0, 5.0, 100.0, 50.0], [float("nan")] * 4, [150.0, -10.0, 190.123, 40.0]]
    actions = [[0.25, 0.0, 0.5], [0.5, 0.5, 0.5], [0.01, 0.8, 0.05]]
    tracker = PersonTracker()
    results = [
        KeyFrameResult(0, 7.0, instances(boxes, [0.9, 1.0, 0.75], actions)),
        KeyFrameResult(1, 0.1 * 73, instances([], [], [])),
    ]
    return [(result, tracker.update(result)) for result in results]
