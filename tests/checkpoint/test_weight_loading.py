"""Weights of one network in another."""

import json

import published_trunks
import pytest
import torch
from detectron2.modeling import build_model
from small_class_queries import SMALL_CSN, SMALL_VIT, model_of
from small_vits import body

from tubedet.checkpoint import CheckpointError, TubedetCheckpointer
from tubedet.engine import load_config, load_model

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]
SMALL += ["MODEL.NUM_ACTIONS", 5, "INPUT.CLIP.NUM_FRAMES", 8, "MODEL.FPN.OUT_CHANNELS", 32]
for _node in ("TUBER", "DEFORMABLE_TUBER", "SEQFORMER"):
    SMALL += [f"MODEL.{_node}.HIDDEN_DIM", 32, f"MODEL.{_node}.FEEDFORWARD_DIM", 64]
    SMALL += [f"MODEL.{_node}.ENC_LAYERS", 1, f"MODEL.{_node}.DEC_LAYERS", 2]
SMALL += ["MODEL.SPARSE_RCNN.NUM_PROPOSALS", 6, "MODEL.SPARSE_RCNN.NUM_STAGES", 2]
SMALL += ["MODEL.SPARSE_RCNN.FEEDFORWARD_DIM", 64, "MODEL.SPARSE_RCNN.DYNAMIC_DIM", 8]
SMALL += [
    "MODEL.STMIXER.NUM_QUERIES",
    6,
    "MODEL.STMIXER.NUM_STAGES",
    2,
    "MODEL.STMIXER.NUM_STEPS",
    1,
]
SMALL += ["MODEL.STMIXER.FEEDFORWARD_DIM", 64, "MODEL.STMIXER.NUM_POINTS", 4]
D3 = ["MODEL.DEFORMABLE_TUBER.DETR_FIRST", True]


def _cfg(architecture, *opts):
    return load_config(f"configs/Base-{architecture}.yaml", [*SMALL, *opts])


def _model(architecture, *opts, seed=0):
    torch.manual_seed(seed)
    return build_model(_cfg(architecture, *opts))


def _load(model, path, part="transformer", **options):
    checkpointer = TubedetCheckpointer(model, **{part: str(path)}, **options)
    checkpointer.resume_or_load("", resume=False)
    return checkpointer.report


def _detr(num_queries=100, prefix=""):
    """A DETR of images under facebookresearch/detr's names, as wide as our small models."""
    ours = _model("TubeR", seed=3).state_dict()
    weights = {
        key.replace(".cross_attn.", ".multihead_attn.").replace("box_head", "bbox_embed"): value
        for key, value in ours.items()
        if key.startswith(("transformer.", "box_head."))
    }
    weights["query_embed.weight"] = torch.randn(num_queries, 32)
    weights["class_embed.weight"] = torch.zeros(92, 32)
    weights["class_embed_b.weight"] = torch.randn(3, 32)  # only of one trained for TubeR
    weights["input_proj.weight"] = torch.zeros(32, 2048, 1, 1)
    weights["backbone.0.body.conv1.weight"] = torch.zeros(64, 3, 7, 7)
    return {prefix + key: value for key, value in weights.items()}


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [
        ("TubeR", "backbone."),
        ("DeformableTubeR", "backbone."),
        ("SeqFormer", "backbone."),
        ("SparseRCNN", "backbone.bottom_up.csn."),
        ("STMixer", "backbone.body."),
    ],
)
@pytest.mark.parametrize(
    "source", ["TubeR", "SparseRCNN", "STMixer", "released TubeR", "mmaction2"]
)
def test_a_backbone_finds_its_place(architecture, prefix, source, tmp_path):
    csn = published_trunks.random_csn(5, depth=26, width_multiplier=0.125)
    if source == "mmaction2":
        weights = published_trunks.mmaction(csn)
    elif source == "released TubeR":
        weights = {**published_trunks.tuber(csn), "module.class_embed_b.weight": torch.zeros(3, 32)}
    else:
        places = {"SparseRCNN": "backbone.bottom_up.csn.", "STMixer": "backbone.body."}
        trunk = places.get(source, "backbone.")
        weights = {trunk + key: value for key, value in csn.state_dict().items()}
        weights |= {"person_head.weight": torch.zeros(3, 32)}
    torch.save({"model": weights}, tmp_path / "x.pth")
    model = _model(architecture)
    report = _load(model, tmp_path / "x.pth", "backbone", min_matched=1.0)
    own = model.state_dict()
    for key, value in csn.state_dict().items():
        assert torch.equal(own[prefix + key], value)
    assert set(report.matched) <= {prefix + key for key in csn.state_dict()}
    assert len(report.ignored) == 1 and not report.unexpected  # a classifier


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(("frames", "rows"), [(1, 15), (8, 120)])
def test_detr_starts_tuber_and_its_queries_are_cut_or_repeated(frames, rows, prefix, tmp_path):
    weights = _detr(prefix=prefix)
    torch.save({"model": weights}, tmp_path / "detr.pth")
    opts = [] if frames == 1 else ["MODEL.TUBER.QUERY_TYPE", "tubelet"]
    model = _model("TubeR", *opts)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = _load(model, tmp_path / "detr.pth", min_matched=1.0)
    own = model.state_dict()
    queries = weights[f"{prefix}query_embed.weight"]
    assert report.resized == {"query_embed.weight": ((100, 32), (rows, 32))}
    assert "1 cut or repeated" in report.summary()
    assert torch.equal(own["query_embed.weight"], torch.cat((queries, queries))[:rows])
    for key in (
        "transformer.decoder.layers.1.cross_attn.out_proj.weight",
        "box_head.layers.2.bias",
    ):
        theirs = key.replace("cross_attn", "multihead_attn").replace("box_head", "bbox_embed")
        assert torch.equal(own[key], weights[prefix + theirs])
    assert set(report.ignored) == {
        "class_embed.weight",
        "input_proj.weight",
        "backbone.0.body.conv1.weight",
    }
    for key in ("input_proj.weight", "action_head.fc.weight", "backbone.stem.conv.weight"):
        assert torch.equal(own[key], before[key])


def test_detr_places_the_queries_of_d3_and_is_no_deformable_transformer(tmp_path):
    weights = _detr()
    torch.save({"model": weights}, tmp_path / "detr.pth")
    model = _model("DeformableTubeR", *D3)
    before = model.transformer.encoder.layers[0].linear1.weight.clone()
    report = _load(model, tmp_path / "detr.pth", min_matched=1.0)
    expected = weights["transformer.encoder.layers.0.linear1.weight"]
    assert torch.equal(model.detr.encoder.layers[0].linear1.weight, expected)
    assert torch.equal(model.transformer.encoder.layers[0].linear1.weight, before)
    assert all(key.startswith("bbox_embed.") for key in report.unexpected)
    for architecture in ("DeformableTubeR", "SeqFormer"):
        with pytest.raises(CheckpointError, match="of a DETR, the model that of a Deformable DETR"):
            _load(_model(architecture), tmp_path / "detr.pth", min_matched=0.0)


@pytest.mark.parametrize("refine", [True, False])
def test_deformable_detr_starts_d2(refine, tmp_path):
    """Files of both kinds have a head for every layer; without refinement these are one."""
    opts = ["MODEL.DEFORMABLE_TUBER.BOX_REFINE", refine]
    weights = {"class_embed.0.weight": torch.zeros(91, 32), "input_proj.0.1.bias": torch.ones(32)}
    for key, value in _model("DeformableTubeR", *opts, seed=3).state_dict().items():
        if key.startswith("transformer."):
            weights[key] = value
        elif key.startswith("box_heads."):
            name = key.replace("box_heads", "bbox_embed")
            weights[name] = value
            if refine:
                weights[f"transformer.decoder.{name}"] = value
            else:
                weights[name.replace("embed.0", "embed.1")] = value
    weights["query_embed.weight"] = torch.randn(300, 64)
    torch.save({"model": weights}, tmp_path / "deformable.pth")
    model = _model("DeformableTubeR", *opts)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = _load(model, tmp_path / "deformable.pth", min_matched=1.0)
    own = model.state_dict()
    rows = len(own["query_embed.weight"])
    assert torch.equal(own["query_embed.weight"], weights["query_embed.weight"][:rows])
    for key in (
        "transformer.encoder.layers.0.self_attn.value_proj.weight",
        "transformer.reference_points.weight",
        "box_heads.0.layers.1.weight",
    ):
        assert torch.equal(own[key], weights[key.replace("box_heads", "bbox_embed")])
        assert not torch.equal(own[key], before[key])
    assert report.resized == {"query_embed.weight": ((300, 64), (rows, 64))}
    for key in ("action_heads.0.weight", "backbone.stem.conv.weight"):
        assert torch.equal(own[key], before[key])


@pytest.mark.parametrize("architecture", ["TubeR", "DeformableTubeR", "SeqFormer", "SparseRCNN"])
def test_a_detector_of_other_classes_starts_another(architecture, tmp_path):
    """All but the backbone and the classifiers, with other numbers of queries."""
    opts = ["MODEL.NUM_ACTIONS", 1, "MODEL.TUBER.NUM_QUERIES", 9, "MODEL.SEQFORMER.NUM_QUERIES", 9]
    opts += ["MODEL.DEFORMABLE_TUBER.NUM_QUERIES", 9]
    first = _model(architecture, *opts, "MODEL.SPARSE_RCNN.NUM_PROPOSALS", 9, seed=4)
    torch.save({"model": first.state_dict()}, tmp_path / "person.pth")
    model = _model(architecture)
    stem = {key for key in model.state_dict() if key.endswith("stem.conv.weight")}.pop()
    before = model.state_dict()[stem].clone()
    report = _load(model, tmp_path / "person.pth", min_matched=1.0)
    assert report.resized and report.mismatched
    assert set(report.mismatched) == report.uncounted
    assert all(shapes[0][0] == 1 for shapes in report.mismatched.values())
    assert stem in report.ignored and torch.equal(model.state_dict()[stem], before)


def test_sources_are_applied_in_order_and_each_is_reported(tmp_path):
    csn = published_trunks.random_csn(5, depth=26, width_multiplier=0.125)
    torch.save(published_trunks.torchvision(csn), tmp_path / "csn.pth")
    torch.save({"model": _detr()}, tmp_path / "detr.pth")
    bias = torch.full((4,), 7.0)
    torch.save({"box_head.layers.2.bias": bias}, tmp_path / "bias.pth")
    opts = ["MODEL.INIT.BACKBONE", str(tmp_path / "csn.pth"), "MODEL.INIT.MIN_MATCHED", 0.0]
    opts += ["MODEL.INIT.TRANSFORMER", str(tmp_path / "detr.pth")]
    opts += ["MODEL.WEIGHTS", str(tmp_path / "bias.pth")]
    model = load_model(_cfg("TubeR", *opts))
    assert torch.equal(model.box_head.layers[2].bias, bias)
    expected = torch.load(tmp_path / "detr.pth")["model"]
    assert torch.equal(model.box_head.layers[0].bias, expected["bbox_embed.layers.0.bias"])
    assert torch.equal(model.backbone.stem.conv.weight, csn.stem.conv.weight)

    sources = {"backbone": str(tmp_path / "csn.pth"), "transformer": str(tmp_path / "detr.pth")}
    checkpointer = TubedetCheckpointer(_model("TubeR"), str(tmp_path / "run"), **sources)
    checkpointer.resume_or_load("", resume=True)
    reports = json.loads((tmp_path / "run" / "load_report.json").read_text())["sources"]
    assert [report["part"] for report in reports] == ["backbone", "transformer"]
    assert [report["share"] for report in reports] == [1.0, 1.0]
    assert reports[1]["resized"] == {"query_embed.weight": {"file": [100, 32], "model": [15, 32]}}
    assert reports[1]["modules"]["transformer"]["share of parameters"] == 1.0

    checkpointer.save("model_0000001", iteration=1)
    (tmp_path / "csn.pth").unlink()  # not needed to go on
    resumed = TubedetCheckpointer(_model("TubeR", seed=1), str(tmp_path / "run"), **sources)
    assert resumed.resume_or_load("", resume=True)["iteration"] == 1
    assert [report.part for report in resumed.reports] == ["model"]
    with pytest.raises(FileNotFoundError, match=r"csn.pth does not exist \(MODEL.INIT.BACKBONE\)"):
        resumed.resume_or_load("", resume=False)


def test_each_source_must_fill_its_part(tmp_path):
    weights = published_trunks.torchvision(
        published_trunks.random_csn(5, depth=26, width_multiplier=0.125)
    )
    few = {k: v for k, v in weights.items() if not k.startswith(("layer2", "layer3"))}
    torch.save(few, tmp_path / "few.pth")
    with pytest.raises(CheckpointError, match=r"% of the backbone found.*MIN_MATCHED") as caught:
        _load(_model("TubeR"), tmp_path / "few.pth", "backbone")
    assert "\n" not in str(caught.value)
    torch.save(weights, tmp_path / "all.pth")
    with pytest.raises(CheckpointError, match="is for MODEL.INIT.BACKBONE"):
        TubedetCheckpointer(_model("TubeR")).load(str(tmp_path / "all.pth"))
    half = {k: v for k, v in _detr().items() if "decoder.layers.1" not in k}
    torch.save(half, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match="% of the transformer found"):
        _load(_model("TubeR"), tmp_path / "half.pth")


VIT = ["MODEL.VIT.SIZE", "custom", "MODEL.VIT.WIDTH", 16, "MODEL.VIT.DEPTH", 2]
VIT += ["MODEL.VIT.NUM_HEADS", 2, "MODEL.VIT.MLP_WIDTH", 32, "MODEL.BACKBONE.NAME"]


@pytest.mark.parametrize(
    ("architecture", "backbone", "place", "new"),
    [
        ("TubeR", "build_vit_backbone", "backbone.", 0),
        ("DeformableTubeR", "build_vit_pyramid_backbone", "backbone.body.", 24),
        ("SeqFormer", "build_vit_pyramid_backbone", "backbone.body.", 24),
        ("SparseRCNN", "build_vit_pyramid_2d_backbone", "backbone.body.", 24),
    ],
)
def test_a_vit_finds_its_place_in_every_architecture(architecture, backbone, place, new, tmp_path):
    weights = {key: value for key, value in body().items() if not key.startswith("norm.")}
    extra = {"fc_norm.weight": torch.zeros(16), "head.weight": torch.zeros(400, 16)}
    torch.save({"module": {**weights, **extra}}, tmp_path / "k400.pth")
    model = _model(architecture, *VIT, backbone)
    norm = model.state_dict()[f"{place}norm.weight"].clone()
    report = _load(model, tmp_path / "k400.pth", "backbone", min_matched=1.0)
    own = model.state_dict()
    for key, value in weights.items():
        assert torch.equal(own[place + key], value)
    assert torch.equal(own[f"{place}norm.weight"], norm)
    assert len(report.matched) == 28 and len(report.new) == 2 + new
    assert report.ignored == ["fc_norm.weight", "head.weight"] and not report.unexpected


def test_the_second_stage_starts_from_the_transformer_of_another_backbone(tmp_path):
    """As published: detectors with a ViT start from what was trained with a CSN."""
    first, model = model_of(*SMALL_CSN), model_of(*SMALL_VIT, seed=1)
    torch.save({"model": first.state_dict()}, tmp_path / "csn.pth")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = _load(model, tmp_path / "csn.pth", min_matched=1.0)
    theirs, own = first.state_dict(), model.state_dict()
    modules = ("transformer", "box_head", "person_head", "refpoint_embed")
    for key, value in own.items():
        expected = theirs if key.startswith(modules) else before
        assert torch.equal(value, expected[key]), key
    # The projections of the CSN's maps, of which a ViT has none.
    assert {key.split(".")[0] for key in report.unexpected} == {"input_proj"}
    assert {key.split(".")[0] for key in report.ignored} == {"backbone"}
    with pytest.raises(CheckpointError, match="holds a CSN, but the model has a video ViT"):
        TubedetCheckpointer(model, min_matched=0.0).load(str(tmp_path / "csn.pth"))


def test_the_backbone_of_a_class_query_detector_brings_its_pyramid(tmp_path):
    first = model_of(*SMALL_VIT)
    torch.save({"model": first.state_dict()}, tmp_path / "first.pth")
    model = _model("SeqFormer", *VIT, "build_vit_pyramid_backbone")
    report = _load(model, tmp_path / "first.pth", "backbone", min_matched=1.0)
    assert len(report.matched) == 30 + 24 and not report.new
    for key, value in first.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value)
