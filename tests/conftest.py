"""Fixtures of all tests."""

import logging
import os
import subprocess
import sys
from pathlib import Path

# Threads that wait for each other must not spin: on a busy machine that is many times slower. To be
# said before PyTorch starts them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # kernels run on the CPU; read when they are defined
from detectron2.structures import Boxes, Instances
from release_server import ReleaseServer, toy_checkpoint, toy_release

from tubedet.model_zoo import releases

# Configs and tools are named relative to the project's root.
os.chdir(Path(__file__).parents[1])
# Several processes of a test share the machine's cores.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1)))


def pytest_addoption(parser):
    parser.addoption(
        "--gpu-device",
        default="cuda",
        choices=("cuda", "cpu"),
        help="device of tests/gpu; cpu tries what these tests do where there is no GPU",
    )


@pytest.fixture(autouse=True)
def logger_as_before():
    """Take back what a command that ran in this process has done to the logger."""
    logger = logging.getLogger("tubedet")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.level, logger.propagate, logger.handlers[:] = before


@pytest.fixture
def make_clip_input():
    """Builds a model input with random pixels and ``num_boxes`` random boxes, also as proposals."""

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
            "proposals": Instances(
                (height, width), proposal_boxes=instances.gt_boxes, scores=torch.ones(num_boxes)
            ),
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


@pytest.fixture
def release_cache(tmp_path, monkeypatch):
    """The empty cache of this test; the current folder is empty, too."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def add_release(monkeypatch):
    """Puts an entry into the zoo for this test."""

    def add(release):
        monkeypatch.setitem(releases._RELEASES, release.name, release)
        return release

    return add


@pytest.fixture(scope="session")
def released_checkpoint():
    """A small detector as it could be released."""
    return toy_checkpoint()


@pytest.fixture
def release_server(release_cache):
    """A server that has no file yet."""
    with ReleaseServer().running() as server:
        yield server


@pytest.fixture
def release(release_server, add_release, released_checkpoint):
    """A released detector with its file."""
    release_server.files["/files/toy.pth"] = released_checkpoint
    return add_release(toy_release(release_server.url))


@pytest.fixture
def kernel_device(monkeypatch):
    """Name of the device on which Triton kernels run: a GPU, or else the CPU, interpreted."""
    pytest.importorskip("triton")
    from tubedet.layers.cuda import availability

    device = "cuda" if torch.cuda.is_available() else "cpu"
    monkeypatch.setattr(availability, "runs_kernels", lambda x: x.device.type == device)
    return device
