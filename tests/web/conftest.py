"""A video, and a model that knows what is in it."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.engine import load_config
from tubedet.inference import VideoActionDetector


class KnowingModel(torch.nn.Module):
    """One person walks; from second 2 on a second one sits. Score 0.9; jumping is at 0.2."""

    def forward(self, batched_inputs):
        return [{"instances": self.detect(model_input)} for model_input in batched_inputs]

    def detect(self, model_input):
        instances = Instances((model_input["height"], model_input["width"]))
        boxes = [[5.0, 5.0, 25.0, 45.0], [60.0, 10.0, 90.0, 60.0]]
        instances.pred_boxes = Boxes(torch.tensor(boxes))
        is_there = model_input["timestamp"] >= 2
        instances.scores = torch.tensor([0.95, 0.9 if is_there else 0.1])
        instances.action_scores = torch.tensor([[0.9, 0.0, 0.2], [0.0, 0.9, 0.2]])
        return instances


@pytest.fixture(scope="session")
def detector():
    opts = ["INPUT.CLIP.NUM_FRAMES", "4", "INPUT.CLIP.FPS", "10.0", "INPUT.MIN_SIZE_TEST", "32"]
    return VideoActionDetector(load_config("", opts), model=KnowingModel())


@pytest.fixture(scope="session")
def action_names():
    """Those of the detector."""
    return ["walk", "sit <b>", "jump"]


def write_film(path: Path, seconds: float, size=(96, 64)):
    """A grey video of 10 frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(round(10 * seconds)):
            image = np.full((size[1], size[0], 3), 60 + number % 60, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def make_film():
    """Writes a video: ``make_film(path, seconds, size=(width, height))``."""
    return write_film


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A video of 5 seconds."""
    return write_film(tmp_path_factory.mktemp("films") / "my film.mp4", 5.0)
