import pytest
import torch
from torch import nn

from tubedet.engine import Trainer, load_config
from tubedet.engine.freezing import freeze_parameters
from tubedet.layers import FrozenBatchNorm3d


def _model():
    trunk = nn.Sequential(nn.Conv3d(3, 4, 1, bias=False), nn.BatchNorm3d(4))
    return nn.ModuleDict({"trunk": trunk, "neck": nn.BatchNorm3d(4), "head": nn.Linear(4, 2)})


def test_what_fits_a_pattern_stays_as_it_is():
    model = _model()
    model["trunk"][1].running_mean.fill_(0.5)
    freeze_parameters(model, ["trunk.*", "head.bias"])
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "neck.weight",
        "neck.bias",
        "head.weight",
    ]
    assert isinstance(model["trunk"][1], FrozenBatchNorm3d)
    assert isinstance(model["neck"], nn.BatchNorm3d)
    model.train()["neck"](model["trunk"](torch.randn(2, 3, 2, 2, 2)))
    assert model["trunk"][1].running_mean.tolist() == [0.5] * 4
    assert model["neck"].running_mean.any()


def test_a_pattern_that_fits_nothing_is_an_error():
    with pytest.raises(ValueError, match="MODEL.FREEZE: no parameter's name fits 'stem'"):
        freeze_parameters(_model(), ["stem"])


def test_everything_stays_on_its_device():
    opts = ["MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.DEVICE", "meta"]
    cfg = load_config("", [*opts, "MODEL.CSN.NORM", "SyncBN", "MODEL.FREEZE", ["backbone.*"]])
    model = Trainer.build_model(cfg)
    assert any(isinstance(module, FrozenBatchNorm3d) for module in model.modules())
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_the_config_names_what_to_freeze():
    opts = ["MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.DEVICE", "cpu"]
    opts += ["MODEL.TUBER.TEMPORAL_POOLING", "avg", "MODEL.FREEZE", ["backbone.*"]]
    model = Trainer.build_model(load_config("", opts))
    trained = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert "backbone" not in trained and "transformer" in trained
