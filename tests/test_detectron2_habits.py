"""What detectron2 has taught people to do: it works, or a line says what to do instead."""

import re

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from detectron2.solver import build_optimizer
from detectron2.utils.analysis import FlopCountAnalysis
from documented_commands import ROOT, run_page
from fvcore.nn import FlopCountAnalysis as PlainFlopCountAnalysis
from small_detectors import ARCHITECTURES, small_batch, small_config, small_detector
from torch import nn

from tubedet.engine import load_config
from tubedet.engine.config_checks import check_model_config
from tubedet.errors import UserError

PAGE = ROOT / "docs" / "detectron2.md"


class PlainShapes(Backbone):
    """Maps for any architecture, of which detectron2's ``output_shape`` tells the usual values."""

    def __init__(self, cfg, input_shape):
        super().__init__()
        names = ["p2", "p3"] if cfg.MODEL.META_ARCHITECTURE == "SparseRCNN" else ["p2"]
        self._out_features = names
        self._out_feature_channels = dict.fromkeys(names, 64)
        self._out_feature_strides = {name: 8 * 2**n for n, name in enumerate(names)}
        self.pooled = len(names) == 2
        self.maps = nn.ModuleDict(
            {n: nn.Conv3d(3, 64, 1, (2, s, s)) for n, s in self._out_feature_strides.items()}
        )

    def forward(self, x):
        maps = {name: conv(x) for name, conv in self.maps.items()}
        return {name: x.mean(2) for name, x in maps.items()} if self.pooled else maps


@pytest.fixture
def plain_backbone(monkeypatch):
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "PlainShapes", PlainShapes)
    return ["MODEL.BACKBONE.NAME", "PlainShapes"]


NEEDS_TIME = {"D2": "DeformableTubeR", "STMixer": "STMixer"}


@pytest.mark.parametrize(
    "name", ["TubeR", "tubelets", "D2", "SeqFormer", "SparseRCNN", "ClassQuery", "RoI", "STMixer"]
)
def test_a_backbone_with_plain_shapes(name, plain_backbone):
    assert name in ARCHITECTURES
    cfg = small_config(name, plain_backbone)
    shapes = PlainShapes(cfg, None).output_shape()
    assert shapes["p2"] == ShapeSpec(channels=64, stride=8)
    if name in NEEDS_TIME:
        with pytest.raises(UserError) as told:
            build_model(cfg)
        assert str(told.value) == (
            f"{NEEDS_TIME[name]} needs the temporal_stride of map 'p2', which output_shape of "
            "PlainShapes (MODEL.BACKBONE.NAME) does not tell; let it return "
            "tubedet.modeling.ClipShapeSpec(channels, stride, temporal_stride)"
        )
        return
    torch.manual_seed(0)
    model = build_model(cfg)
    batch = small_batch(cfg)
    sum(model(batch).values()).backward()
    assert all(conv.weight.grad.abs().sum() > 0 for conv in model.backbone.maps.values())
    with torch.no_grad():
        results = model.eval()(batch)
    assert [r["instances"].action_scores.shape[1] for r in results] == [cfg.MODEL.NUM_ACTIONS] * 2


@pytest.mark.parametrize(
    "name, changed, said",
    [
        ("TubeR", lambda maps: {"p3": maps["p2"]}, "names map 'p2', but its forward returns 'p3'"),
        (
            "TubeR",
            lambda maps: {"p2": maps["p2"][:, :8]},
            "has the size (2, 8, 4, 6, 8) instead of",
        ),
        (
            "RoI",
            lambda maps: {"p2": maps["p2"].mean(2)},
            "instead of (clips, 64, time, height, width)",
        ),
        (
            "SparseRCNN",
            lambda maps: {n: x[:, :, None] for n, x in maps.items()},
            "instead of (clips, 64, height, width)",
        ),
    ],
)
def test_maps_that_are_not_those_of_output_shape(name, changed, said, plain_backbone, monkeypatch):
    cfg = small_config(name, plain_backbone)
    model = build_model(cfg).eval()
    promised = PlainShapes.forward
    monkeypatch.setattr(PlainShapes, "forward", lambda self, x: changed(promised(self, x)))
    with pytest.raises(UserError, match=re.escape(said)) as told:
        model(small_batch(cfg))
    assert "PlainShapes (MODEL.BACKBONE.NAME)" in str(told.value)


def test_a_backbone_for_images_is_refused():
    cfg = load_config("", ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.DEVICE", "cpu"])
    with pytest.raises(UserError, match="'build_resnet_backbone', detectron2's for images; choose"):
        check_model_config(cfg)


@pytest.mark.parametrize("name", ["TubeR", "RoI"])
def test_default_predictor_names_what_to_use(name):
    predictor = DefaultPredictor(small_config(name))
    with pytest.raises(UserError) as told:
        predictor(np.zeros((48, 64, 3), np.uint8))
    assert str(told.value) == (
        f"{type(predictor.model).__name__} takes clips, not the single images of DefaultPredictor; "
        "use tubedet.VideoActionDetector(cfg), which takes videos and frames"
    )


def test_detectron2s_optimizer():
    cfg, model = small_detector("TubeR")
    with pytest.raises(ValueError, match="'full_model' is not a valid GradientClipType"):
        build_optimizer(cfg, model)
    for opts in (["ENABLED", False], ["CLIP_TYPE", "norm"]):
        cfg = small_config("TubeR", [f"SOLVER.CLIP_GRADIENTS.{opts[0]}", opts[1]])
        optimizer = build_optimizer(cfg, model)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        assert isinstance(optimizer, torch.optim.SGD)
        assert len(parameters) == sum(p.requires_grad for p in model.parameters())


def test_operations_are_counted():
    cfg, model = small_detector("TubeR")
    (clip,) = small_batch(cfg, 1)
    whole = FlopCountAnalysis(model, [{"clip": clip["clip"]}]).unsupported_ops_warnings(False)
    backbone = PlainFlopCountAnalysis(model.backbone, torch.zeros(1, 3, 8, 48, 64))
    backbone.unsupported_ops_warnings(False)
    values = 8 * 8 * 24 * 32  # of the first map, each of 3x7x7 pixels with 3 channels
    stem = backbone.by_module()["stem.conv"]
    assert stem == values * 3 * 3 * 7 * 7
    assert whole.total() > backbone.total() > stem


def test_the_examples_of_the_page_run(toy_datasets, tmp_path):
    last_line = "print('figures', sorted(figures))"
    printed = run_page(PAGE, tmp_path, last_line, DETECTRON2_DATASETS=str(toy_datasets))
    assert printed == "figures ['frame_ap']"
    assert torch.load(tmp_path / "plain.pth")["scheduler"]["last_epoch"] == 2


def test_a_lazy_config_is_refused_in_a_line(tmp_path):
    with pytest.raises(UserError) as told:
        load_config(str(tmp_path / "mine.py"))
    assert re.fullmatch(
        r"config file \S+mine.py: a LazyConfig in Python; tubedet takes yaml files, and "
        r"detectron2's lazyconfig_train_net.py builds tubedet's models, see docs/detectron2.md",
        str(told.value),
    )
