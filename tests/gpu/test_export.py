"""Files that run on a GPU, made and used as a user does it."""

import runpy

import numpy as np
import pytest
import torch
from small_detectors import ARCHITECTURES, small_config

from tubedet import load_model
from tubedet.cli.running import run_command
from tubedet.export.verification import detections

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["TubeR", "D2", "SeqFormer", "SparseRCNN", "ClassQuery"])
def test_a_file_for_the_device_gives_the_models_numbers(name, device, tmp_path):
    cfg = small_config(name, device=device)
    torch.manual_seed(3)
    model = load_model(cfg)
    weights, output = tmp_path / "weights.pth", tmp_path / "model.pt2"
    torch.save({"model": model.state_dict()}, weights)
    config, changes = ARCHITECTURES[name]
    config = f"configs/quick_schedules/{config}.yaml"
    arguments = ["--config-file", config, "--format", "torch_export", "--output", str(output)]
    # A fixed size traces faster.
    arguments += ["--size", "64x96", "--batch", "2", *map(str, changes)]
    arguments += ["MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", str(device)]
    assert run_command("export", arguments) == 0  # it compares the two, too
    run, about = runpy.run_path("tools/run_exported_model.py")["load"](str(output))
    assert about["device"] == str(device)
    shape = (2, 3, about["num_frames"], 64, 96)
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found, expected = run(clips), detections(model, torch.from_numpy(clips))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.cpu().numpy(), rtol=0, atol=1e-4)
