"""Detections beside annotations."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from tubedet.engine import load_config
from tubedet.inference.evaluation_pictures import draw_evaluation

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


def _one_box(inputs):
    """A sure detection in the left upper quarter."""
    return [
        {
            "instances": Instances(
                (x["height"], x["width"]),
                pred_boxes=Boxes(torch.tensor([[0.0, 0.0, x["width"] / 2, x["height"] / 2]])),
                action_scores=torch.eye(80)[:1],
            )
        }
        for x in inputs
    ]


def test_detections_are_on_the_left_and_annotations_on_the_right(toy_datasets, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_datasets))
    record = {
        "video_id": "hall",
        "timestamp": 902.0,
        "video": next(str(path) for path in (toy_datasets / "ava_toy/videos").iterdir()),
        "start_second": 900.0,
        "fps": 30.0,
        "annotations": [{"bbox": [48.0, 48.0, 96.0, 96.0], "bbox_mode": 0, "actions": [79]}],
    }
    cfg = load_config(CONFIG, ["DATASETS.TEST", (), "INPUT.CLIP.NUM_FRAMES", 2])
    broken = {**record, "video": "nowhere.mp4"}
    ((name, picture),) = draw_evaluation(cfg, _one_box, [broken, record])
    assert name == "hall at 902 s"
    height, width = picture.shape[0], picture.shape[1] // 2
    left, right = picture[:, :width], picture[:, width:]
    changed = np.abs(left.astype(int) - right).sum(axis=2) > 60
    # Each box is a line around a quarter of its half, from corner to corner.
    assert changed[: height // 2, width // 2 - 3 : width // 2 + 3].any(axis=1).mean() > 0.9
    assert changed[height // 2 :, width // 2 - 3 : width // 2 + 3].any(axis=1).mean() > 0.9
    assert changed[: height // 3, -width // 3 :].mean() < 0.02
