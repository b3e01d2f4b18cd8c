"""Detectors' weights under the names of their sources."""

import re

import pytest
import torch
from detectron2.modeling import build_model
from reference_cases import FIXTURES, LARGE_BLOCKS, ReferenceCase

from tubedet.checkpoint import CheckpointError, to_tubedet_names
from tubedet.checkpoint.released_names import TUBEDET, TUBER, released_layout
from tubedet.engine import load_config


def test_every_released_key_is_converted():
    case = ReferenceCase(FIXTURES / "tuber_csn50_ava21")
    weights = {key: torch.empty(0) for key in case.meta["weights"]}
    named = to_tubedet_names(weights)
    assert named.layout is TUBER
    cfg = load_config("configs/AVA/TubeR_CSN50_AVA21.yaml", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        ours = build_model(cfg).state_dict()
    # The classifier that nothing uses is kept for writing it back, and not loaded.
    unused = {"backbone.out_fc.weight", "backbone.out_fc.bias"}
    assert set(named.weights) == set(ours) | unused
    # The suffixes of the released attention are swapped.
    key = "action_head.context_encoder.spatial_attn.in_proj_weight"
    assert named.names_in_file[key] == "encoder.layers.0.self_attn_t.in_proj_weight"
    for key in ours:
        entry = case.meta["weights"][named.names_in_file[key]]
        assert entry is None or list(ours[key].shape) == entry[0], key


@pytest.mark.parametrize("variant", ["d2", "d3", "d4", "seqformer", "sparse"])
def test_the_public_experiments_are_converted(variant):
    """Every key of theirs is ours or left out, and every tensor of ours is there."""
    path = LARGE_BLOCKS / f"{variant}_full_fixed"
    if not path.with_suffix(".json").exists():
        pytest.skip(f"the reference case {variant}_full_fixed is not at {LARGE_BLOCKS}")
    meta = ReferenceCase(path).meta
    weights = {f"module.{key}": torch.empty(0) for key in meta["weights"]}
    weights |= {f"module.{key}": torch.empty(0) for key in meta.get("aliases", {})}
    weights["module.backbone.0.query_pool.weight"] = torch.empty(0)  # never called
    named = to_tubedet_names(weights)
    base = {"seqformer": "SeqFormer", "sparse": "SparseRCNN"}.get(variant, "DeformableTubeR")
    opts = ["MODEL.DEVICE", "cpu", "MODEL.CSN.WIDTH_MULTIPLIER", 1 / 32]
    opts += ["MODEL.DEFORMABLE_TUBER.DETR_FIRST", variant == "d3"]
    opts += ["MODEL.DEFORMABLE_TUBER.CONTEXT_ACTIONS", variant == "d4"]
    node = "SEQFORMER" if variant == "seqformer" else "DEFORMABLE_TUBER"
    layers = {"ENC_LAYERS": "encoder_layers", "DEC_LAYERS": "decoder_layers"}
    if variant == "sparse":
        opts += ["MODEL.SPARSE_RCNN.NUM_STAGES", 3]
    else:
        for key, hyper in layers.items():
            opts += [f"MODEL.{node}.{key}", meta["hyper"][hyper]]
    model = build_model(load_config(f"configs/Base-{base}.yaml", opts))
    trunk = "backbone.bottom_up.csn."
    ours = {re.sub(re.escape(trunk), "backbone.", key) for key in model.state_dict()}
    differ = {key for key in ours ^ set(named.weights) if "num_batches_tracked" not in key}
    if variant == "sparse":  # its pyramid is ours alone
        differ -= {key for key in ours if key.startswith("backbone.fpn_")}
    assert not differ
    assert "backbone.0.query_pool.weight" in named.ignored


def test_unknown_names_are_taken_for_ours():
    assert released_layout(["backbone.stem.conv.weight", "anything"]) is TUBEDET


def test_two_keys_of_the_same_meaning_are_refused():
    weights = {
        "backbone.body.conv1.weight": torch.zeros(1),
        "backbone.body.layer1.0.conv4.weight": torch.zeros(1),
        "box_head.layers.0.bias": torch.zeros(1),
        "bbox_embed.layers.0.bias": torch.zeros(1),
    }
    with pytest.raises(CheckpointError, match="both are box_head.layers.0.bias"):
        to_tubedet_names(weights)
