"""What tests of detection in videos share."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from numbered_videos import write_video

from tubedet.engine import load_config
from tubedet.inference import KeyFrameResult
from tubedet.inference.tracking import PersonTracker


@pytest.fixture
def cfg():
    """The toy model, every query of which is a result."""
    return load_config(
        "configs/quick_schedules/TubeR_toy.yaml",
        ["MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0"],
    )


@pytest.fixture
def film(tmp_path):
    """4.1 seconds at 30 frames a second, the number of each in the picture."""
    return write_video(tmp_path / "film.mp4", 123, b_frames=2, gop=12)


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
