"""STMixer under its released names, complete, and as a start of other detectors."""

import argparse
import pickle

import pytest
import released_tables
import torch
from detectron2.modeling import build_backbone, build_model
from small_detectors import small_config, small_detector

from tubedet.checkpoint import TubedetCheckpointer, to_tubedet_names
from tubedet.checkpoint.vit_names import STMIXER
from tubedet.checkpoint.weight_loading import load_weights
from tubedet.engine import load_config

# Channels of SlowFast's maps.
FAST = (288, 576, 1152, 2304)


def test_a_complete_file_fills_the_model():
    shapes = released_tables.stmixer()
    head = [key for key in shapes if key.startswith("stm_head.")]
    assert len(head) == 345 and len(shapes) == 345 + 160 + 24
    cfg = load_config("configs/AVA/STMixer_ViTB_AVA22.yaml", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model = build_model(cfg)
    named = to_tubedet_names(released_tables.tensors(shapes))
    assert named.layout is STMIXER
    report = load_weights(model, named, source="x.pth")
    assert not (report.missing or report.unexpected or report.mismatched or report.new)
    assert report.ignored == ["stm_head.criterion.empty_weight"]
    assert len(report.matched) == len(shapes) - 1 == len(model.state_dict())


@pytest.mark.parametrize(
    "config, table, num_parameters",
    [
        ("STMixer_SlowOnlyR50_AVA22", {"pathways": "slow"}, 184_495_476),
        ("STMixer_SlowFastR50_AVA22", {"channels": FAST, "steps": 8}, 194_104_060),
        (
            "STMixer_SlowFastR101NL_AVA22",
            {
                "channels": FAST,
                "steps": 8,
                "depth": 101,
                "fusion_kernel": 5,
                "non_local": True,
            },
            219_617_660,
        ),
    ],
)
def test_complete_files_on_cnns_fill_their_models(config, table, num_parameters):
    shapes = released_tables.stmixer_on_cnn(**table)
    cfg = load_config(f"configs/AVA/{config}.yaml", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == num_parameters
    report = load_weights(model, to_tubedet_names(released_tables.tensors(shapes)), source="x.pth")
    assert not (report.missing or report.unexpected or report.mismatched or report.new)
    counters = [key for key in shapes if key.endswith("num_batches_tracked")]
    assert len(report.matched) + len(counters) == len(shapes) - 1


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_of_the_published_trainer_loads(tmp_path, prefix):
    _, source = small_detector("STMixer_ViT")
    weights = {
        prefix
        + key.replace("backbone.lateral_convs.", "lateral_convs.").replace(".body.", "."): value
        for key, value in source.state_dict().items()
    }
    weights[f"{prefix}stm_head.criterion.empty_weight"] = torch.tensor([1.0, 0.1])
    content = {"model": weights, "iteration": 3, "person_pool": argparse.Namespace(cache={})}
    torch.save(content, tmp_path / "x.pth")
    model = build_model(small_config("STMixer_ViT"))
    checkpointer = TubedetCheckpointer(model, min_matched=1.0)
    checkpointer.load(str(tmp_path / "x.pth"))
    assert checkpointer.report.layout == STMIXER.name
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_a_person_detector_starts_one_of_actions(tmp_path):
    _, persons = small_detector("STMixer", opts=["MODEL.PERSON_ONLY", True])
    torch.save({"model": persons.state_dict()}, tmp_path / "x.pth")
    model = build_model(small_config("STMixer", ["MODEL.STMIXER.NUM_QUERIES", 6]))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    checkpointer = TubedetCheckpointer(model, transformer=str(tmp_path / "x.pth"), min_matched=1.0)
    checkpointer.resume_or_load("", resume=False)
    queries = "stm_head.init_spatial_queries.weight"
    assert checkpointer.report.resized == {queries: ((4, 64), (6, 64))}
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {key for key in persons.state_dict() if key.startswith("stm_head.")}


def _in_caffe2(weights):
    """Weights of a SlowFast as Caffe2 named them, with what it left there."""
    ends = {"running_mean": "rm", "running_var": "riv", "weight": "s", "bias": "b"}
    last = {"2": 2, "3": 3, "4": 5}  # blocks of R50, before each fusion
    named = {"pred_w": torch.zeros(400, 8), "conv1_w_momentum": torch.zeros(1)}
    for key, value in weights.items():
        *place, end = key.split(".")
        stage, fast = place[0][1], "t_" if "pathway1" in key else ""
        if end == "num_batches_tracked":
            continue
        if "nonlocal" in key:
            layer = place[2].removeprefix("conv_")
            end = {"weight": "w", "bias": "b"}[end] if layer != "bn" else ends[end]
            name = f"nonlocal_conv{stage}_{place[1].split('nonlocal')[1]}_{layer}_{end}"
        elif "fuse" in key:
            before = "pool1" if stage == "1" else f"res{stage}_{last[stage]}_branch2c_bn"
            name = f"t_{before}_subsample_{'w' if 'conv' in key else 'bn_' + ends[end]}"
        elif "stem" in key:
            name = "conv1_w" if place[2] == "conv" else f"res_conv1_bn_{ends[end]}"
        else:
            layer = place[-1] if place[2] == "branch2" else place[2].removeprefix("branch")
            branch = f"branch{'2' if place[2] == 'branch2' else ''}{layer.removesuffix('_bn')}"
            norm = f"bn_{ends[end]}" if layer.endswith("_bn") else "w"
            name = f"res{stage}_{place[1].split('res')[1]}_{branch}_{norm}"
        named[name if "fuse" in key else fast + name] = value
    return {name: value.numpy() for name, value in named.items()}


def _slowfast(options, lateral):
    name = "build_slowfast_lateral_backbone" if lateral else "build_slowfast_backbone"
    options = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", name, *options]
    cfg = load_config("configs/Base-STMixer.yaml", [*options, "MODEL.SLOWFAST.WIDTH", 8])
    backbone = build_backbone(cfg)
    for tensor in backbone.state_dict().values():
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return torch.nn.ModuleDict({"backbone": backbone})


@pytest.mark.parametrize("kind", ["SlowFast", "SlowOnly with non-local layers"])
def test_a_trunk_starts_from_pyslowfasts_files(kind, tmp_path):
    """Of Caffe2 under lateral convolutions, which are new, and of PyTorch without them."""
    options = []
    if kind != "SlowFast":
        options = ["MODEL.SLOWFAST.PATHWAYS", "slow", "MODEL.SLOWFAST.DEPTH", 101]
        options += ["MODEL.SLOWFAST.NON_LOCAL", True]
    source = _slowfast(options, lateral=False)["backbone"].state_dict()
    caffe2 = _in_caffe2(source)
    assert "res2_0_branch2a_bn_riv" in caffe2 and "res5_2_branch2c_w" in caffe2
    assert ("t_res3_3_branch2c_bn_subsample_bn_s" in caffe2) == (kind == "SlowFast")
    assert ("nonlocal_conv4_13_theta_b" in caffe2) == (kind != "SlowFast")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"blobs": caffe2}, protocol=2))
    own = {**source, "head.projection.weight": torch.zeros(400, 8)}
    torch.save({"model_state": own}, tmp_path / "x.pyth")
    for name, lateral in (("x.pkl", True), ("x.pyth", False)):
        model = _slowfast(options, lateral)
        start = {"backbone": str(tmp_path / name), "min_matched": 0.5}
        checkpointer = TubedetCheckpointer(model, **start)
        checkpointer.resume_or_load("", resume=False)
        report, body = checkpointer.report, model["backbone"].body if lateral else model["backbone"]
        assert not report.unexpected and not report.mismatched
        assert all(".lateral_convs." in key for key in report.missing)
        for key, value in body.state_dict().items():
            assert key.endswith("num_batches_tracked") or torch.equal(value, source[key]), key
