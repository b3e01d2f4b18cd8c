"""A video detector of which tests see what its model and its source were asked for."""

import weakref

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from tubedet.data.video.sources import FrameSource
from tubedet.inference import VideoActionDetector


class RecordingModel(torch.nn.Module):
    """Keeps its inputs and batch sizes; the score of the only box is the time of the key frame."""

    def __init__(self):
        super().__init__()
        self.inputs, self.batches = [], []
        self.backbone = torch.nn.Identity()

    def forward(self, batched_inputs):
        assert not self.training and not torch.is_grad_enabled()
        self.inputs += batched_inputs
        self.batches.append([x["timestamp"] for x in batched_inputs])
        outputs = []
        for model_input in batched_inputs:
            instances = Instances((model_input["height"], model_input["width"]))
            instances.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, 10.0, 10.0]]))
            instances.scores = torch.ones(1)
            instances.action_scores = torch.full((1, 3), float(model_input["timestamp"]))
            outputs.append({"instances": instances})
        return outputs


class CountingSource(FrameSource):
    """Small frames at 10 a second; knows how many of them are alive."""

    name, rate, height, width = "counted", 10, 8, 8

    def __init__(self, num_frames):
        self.num_frames = num_frames
        self.alive = self.most_alive = self.num_read = 0

    def stored_frames(self, start=0.0):
        for index in range(self.num_frames):
            frame = np.zeros((8, 8, 3), np.uint8)
            self.num_read = index + 1
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
            weakref.finalize(frame, self._drop)
            yield index / 10, frame

    def num_bytes(self, stored):
        return 1 << 20  # as large frames would take, so that few are read ahead

    def _drop(self):
        self.alive -= 1


def recording_detector(cfg, **options):
    """A detector and the recording model that it runs, a prepared copy."""
    detector = VideoActionDetector(cfg, model=RecordingModel(), **options)
    return detector, detector.model
