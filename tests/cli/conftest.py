"""A film and a checkpoint for the commands that detect in videos."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from tubedet.engine import load_config
from tubedet.inference.writers import VideoWriter

_CONFIG = str(Path(__file__).resolve().parents[2] / "configs/quick_schedules/TubeR_toy.yaml")
_NTSC = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """1.4 seconds of grey frames, 112x80 pixels, in which a bright square moves."""
    path = tmp_path_factory.mktemp("my videos") / "film.mp4"
    with VideoWriter(path, _NTSC) as writer:
        for number in range(42):
            frame = np.full((80, 112, 3), 90, np.uint8)
            frame[30:50, number : number + 20] = 220
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of the toy model; it was never trained."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save(
        {"model": build_model(load_config(_CONFIG, ["MODEL.DEVICE", "cpu"])).state_dict()}, path
    )
    return path
