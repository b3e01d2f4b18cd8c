"""STMixer under its released names, complete, and as a start of other detectors."""

import argparse

import pytest
import released_tables
import torch
from detectron2.modeling import build_model
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
