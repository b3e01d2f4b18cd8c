"""Detection in a video."""

import copy

import numpy as np
import pytest
import torch
from small_detectors import small_detector

from tubedet.data.video.sources import open_frame_source
from tubedet.inference import VideoActionDetector

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def video():
    """60 frames of noise with 25 frames a second, 2.4 s."""
    frames = np.random.default_rng(0).integers(0, 256, (60, 72, 96, 3), dtype=np.uint8)
    return list(frames)


def detected(cfg, model, video, **options):
    detector = VideoActionDetector(cfg, model=copy.deepcopy(model), **options)
    return list(detector(open_frame_source(iter(video), fps=25), every=0.5))


@pytest.mark.parametrize("name", ["TubeR", "D2", "SeqFormer", "SparseRCNN"])
@pytest.mark.parametrize(
    "options, tolerance",
    [({}, 0.05), ({"batch_size": 3}, 0.05), ({"amp": "bfloat16"}, 2), ({"amp": "float16"}, 0.5)],
    ids=lambda x: "-".join(map(str, x.values())) if isinstance(x, dict) else None,
)
def test_results_are_those_of_the_cpu(name, options, tolerance, video, device):
    if device.type == "cpu" and options.get("amp") == "float16":
        pytest.skip("float16 needs a GPU")
    cfg, model = small_detector(name)
    expected = detected(cfg, model, video, device="cpu")
    found = detected(cfg, model, video, device=device, **options)
    assert [x.time for x in found] == [x.time for x in expected] == [0, 0.5, 1, 1.5, 2]
    for one, other in zip(found, expected):
        boxes = one.instances.pred_boxes.tensor
        assert boxes.device.type == "cpu" and boxes.dtype == torch.float32
        difference = (boxes - other.instances.pred_boxes.tensor).abs()  # pixels of 96
        assert difference.mean() < tolerance
        scores = (one.instances.action_scores - other.instances.action_scores).abs()
        assert scores.mean() < tolerance / 10
