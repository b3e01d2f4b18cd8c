"""The class-query detector under its released names, complete, there and back."""

import logging

import pytest
import released_tables
import torch
from class_query_cases import ClassQueryCase
from small_class_queries import CSN, NODE, SMALL_CSN, SMALL_VIT, TUBE, VIT, model_of

from tubedet.checkpoint import CheckpointError, TubedetCheckpointer, to_tubedet_names
from tubedet.checkpoint.class_query_names import CLASS_QUERY, to_class_query_names
from tubedet.checkpoint.weight_loading import load_weights


@pytest.fixture(autouse=True)
def said(caplog, monkeypatch):
    """What the log says."""
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def _published(name):
    """Model of a released file, without memory."""
    body, depth, queries, frames, classes, *_ = released_tables.CLASS_QUERY_MODELS[name]
    options = [*VIT, "MODEL.VIT.SIZE", body] if body == "B" else [*CSN, "MODEL.CSN.DEPTH", body]
    options += ["MODEL.DEVICE", "meta", "MODEL.NUM_ACTIONS", classes, "MODEL.FPN.OUT_CHANNELS", 256]
    options += [f"{NODE}ENC_LAYERS", depth, f"{NODE}DEC_LAYERS", depth]
    options += [f"{NODE}NUM_QUERIES", queries, "INPUT.CLIP.NUM_FRAMES", max(frames, 16)]
    options += [f"{NODE}FRAMES", "all" if frames > 1 else "key"]
    with torch.device("meta"):
        return model_of(*options)


@pytest.mark.parametrize("name", released_tables.CLASS_QUERY_MODELS)
@pytest.mark.filterwarnings("ignore:.*is a no-op")
def test_every_key_is_loaded_and_written(name):
    """Names, shapes and numbers of parameters of the four released files, as published."""
    shapes = released_tables.class_query(name)
    depth, num_keys, num_parameters = (
        released_tables.CLASS_QUERY_MODELS[name][i] for i in (1, 5, 6)
    )
    assert len(shapes) == num_keys
    model = _published(name)
    unused = depth * 65_792 + 512
    assert sum(value.numel() for value in model.parameters()) == num_parameters - unused
    named = to_tubedet_names(released_tables.tensors(shapes))
    assert named.layout is CLASS_QUERY
    report = load_weights(model, named, source=name)
    assert not (report.missing or report.unexpected or report.mismatched or report.new)
    # Two names of the convolutions, the boxes a second time, q_proj and cls_norm.
    assert len(report.ignored) == depth * 2 * 8 + 6 + depth * 2 + 2
    counters = [key for key in model.state_dict() if key.endswith("num_batches_tracked")]
    assert len(report.matched) + len(counters) == len(model.state_dict())
    back = to_class_query_names(model.state_dict())
    assert {key: tuple(value.shape) for key, value in back.items()} == shapes


@pytest.mark.parametrize(
    "case, name",
    [
        ("cq_csn50_ava", "AVA CSN-50"),
        ("cq_csn152_ava", "AVA CSN-152"),
        ("cq_vitb_ava", "AVA ViT-B"),
    ],
)
def test_the_tables_here_are_those_of_the_public_code(case, name):
    meta, stored = (getattr(ClassQueryCase(case), name) for name in ("meta", "outputs"))
    public = {
        f"module.{key}": stored[f"w/{key}"].shape if entry is None else tuple(entry[0])
        for key, entry in meta["weights"].items()
    }
    public |= {f"module.{alias}": public[f"module.{key}"] for alias, key in meta["aliases"].items()}
    table = released_tables.class_query(name)
    assert public == {k: v for k, v in table.items() if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize("options", [SMALL_CSN, SMALL_VIT, [*SMALL_VIT, *TUBE]])
def test_a_released_file_and_ours_are_the_same(options, tmp_path):
    model = model_of(*options)
    released = to_class_query_names(model.state_dict())
    statistics = ("num_batches_tracked", "running_mean")
    zeros = {k for k, value in released.items() if not value.any() and not k.endswith(statistics)}
    assert zeros == {
        *(f"module.transformer.decoder.cls_norm.{kind}" for kind in ("weight", "bias")),
        *(
            f"module.transformer.decoder.cls_layers.{layer}.q_proj.{kind}"
            for layer in (0, 1)
            for kind in ("weight", "bias")
        ),
    }
    torch.save({"model": released, "epoch": 11}, tmp_path / "released.pth")
    other = model_of(*options, seed=1)
    checkpointer = TubedetCheckpointer(other, min_matched=1.0)
    checkpointer.load(str(tmp_path / "released.pth"))
    assert checkpointer.report.layout == CLASS_QUERY.name
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_copies_that_differ_are_told_and_the_last_one_counts(said):
    released = to_class_query_names(model_of(*SMALL_VIT).state_dict())
    place = "transformer.decoder.cls_layers.1.conv_blocks"
    released[f"module.{place}.0.norm.bias"] = torch.ones(32)
    released["module.transformer.decoder.bbox_embed.layers.2.bias"] = torch.zeros(4)
    named = to_tubedet_names(released)
    ours = named.weights["transformer.decoder.cls_layers.1.conv_block.norm.bias"]
    assert torch.equal(ours, released[f"module.{place}.2.norm.bias"])
    expected = released["module.bbox_embed.layers.2.bias"]
    assert torch.equal(named.weights["box_head.layers.2.bias"], expected)
    assert said.messages == [
        "2 tensors are in the file under several names with other numbers; those of "
        f"{place}.2.norm.bias are taken, not of {place}.0.norm.bias, and so on"
    ]


def test_another_model_has_no_released_names():
    with pytest.raises(CheckpointError, match="action_head.fc.bias has no name in the released cl"):
        to_class_query_names({"action_head.fc.bias": torch.zeros(1)})
