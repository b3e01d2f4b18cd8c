"""Fixtures of all tests."""

import os
import subprocess
import sys
from pathlib import Path

# Threads that wait for each other must not spin: on a busy machine that is many times slower. To be
# said before PyTorch starts them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from detectron2.structures import Boxes, Instances

# Configs and tools are named relative to the project's root.
os.chdir(Path(__file__).parents[1])
# Several processes of a test share the machine's cores.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1)))


@pytest.fixture
def make_clip_input():
    """Builds a model input with random pixels and ``num_boxes`` random boxes."""

    def make(num_frames, height, width, num_actions, num_boxes=2, seed=0):
        generator = torch.Generator().manual_seed(seed)
        size = (3, num_frames, height, width)
        corner = torch.rand(num_boxes, 2, generator=generator) * 0.5
        extent = 0.2 + torch.rand(num_boxes, 2, generator=generator) * 0.3
        boxes = torch.cat((corner, corner + extent), 1)
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(boxes * torch.tensor([width, height, width, height]))
        actions = torch.zeros(num_boxes, num_actions)
        actions[torch.arange(num_boxes), torch.arange(num_boxes) % num_actions] = 1
        instances.gt_actions = actions
        return {
            "clip": torch.randint(0, 256, size, dtype=torch.uint8, generator=generator),
            "instances": instances,
            "height": height,
            "width": width,
            "video_id": "synthetic",
            "timestamp": 902.0,
        }

    return make


@pytest.fixture(scope="session")
def toy_datasets(tmp_path_factory):
    """A folder for $DETECTRON2_DATASETS with a toy data set of two and one videos."""
    folder = tmp_path_factory.mktemp("data sets")
    script = Path(__file__).parents[1] / "datasets" / "make_toy_ava.py"
    arguments = ["--output", str(folder / "ava_toy"), "--train-videos", "2", "--val-videos", "1"]
    subprocess.run([sys.executable, str(script), *arguments, "--jobs", "1"], check=True)
    return folder
