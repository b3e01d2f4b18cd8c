"""What load_model says of weights that were not given, or were given in another place."""

import copy
import logging
import pickle
from pathlib import Path

import pytest
import torch

from tubedet import VideoActionDetector, load_model
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference.model_caption import RANDOM_CAPTION, model_caption

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    return lambda: [text for text in caplog.messages if "MODEL.WEIGHTS" in text]


def test_random_weights_are_said_and_kept_in_mind(tmp_path, warnings):
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)])
    model = load_model(cfg)
    message = "MODEL.WEIGHTS is empty: the weights are random and detections meaningless"
    assert warnings() == [message]
    for same in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert model_caption(same) == RANDOM_CAPTION
    assert model_caption(VideoActionDetector(cfg, model=model).model) == RANDOM_CAPTION
    path = tmp_path / "model_final.pth"
    torch.save({"model": model.state_dict(), "trained_on": ["ava_toy_train"]}, path)
    model.load_state_dict(model.state_dict())
    assert model_caption(model) is None

    load_model(cfg)
    assert warnings()[1:] == [
        f"{message}. OUTPUT_DIR of the config has weights: give MODEL.WEIGHTS {path}"
    ]
    cfg.MODEL.WEIGHTS = str(path)
    detector = VideoActionDetector(cfg)
    assert model_caption(detector.model) == "toy model: for testing only" and len(warnings()) == 2
    assert repr(detector) == "VideoActionDetector(TubeR, 80 actions, clips of 8 frames, cpu)"


@pytest.mark.parametrize("make", [VideoActionDetector, load_model])
@pytest.mark.parametrize(
    "path, message",
    [
        ("x/config.yaml", "give load_config('x/config.yaml', ['MODEL.WEIGHTS', WEIGHTS_FILE])"),
        ("best.pth", "give load_config(CONFIG_FILE, ['MODEL.WEIGHTS', 'best.pth'])"),
        ("TubeR_CSN152_AVA12", "did you mean"),
    ],
)
def test_a_path_is_told_from_the_name_of_a_release(make, path, message):
    for given in (path, Path(path)):
        with pytest.raises(UserError) as error:
            make(given)
        assert str(error.value).startswith(path) and message in str(error.value)
        assert "\n" not in str(error.value)
