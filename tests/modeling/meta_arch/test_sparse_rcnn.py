"""Sparse R-CNN: proposals and head as published, and the contracts of an architecture."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, build_model
from reference_cases import BLOCKS, ReferenceCase, assert_close
from short_training import assert_all_persons_are_found, assert_trains_in_bfloat16, train_on
from torchvision.ops import box_convert

from tubedet.checkpoint import TubedetCheckpointer
from tubedet.engine import load_config
from tubedet.modeling import ClipBatch
from tubedet.modeling.meta_arch import SparseRCNN

BASE = "configs/Base-SparseRCNN.yaml"
SMALL = ["MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.DEVICE", "cpu"]
SMALL += ["MODEL.FPN.OUT_CHANNELS", 32, "MODEL.NUM_ACTIONS", 5]
SMALL += ["MODEL.SPARSE_RCNN.NUM_PROPOSALS", 6, "MODEL.SPARSE_RCNN.NUM_STAGES", 3]
SMALL += ["MODEL.SPARSE_RCNN.FEEDFORWARD_DIM", 64, "MODEL.SPARSE_RCNN.DYNAMIC_DIM", 8]


def _model(*opts):
    torch.manual_seed(0)
    return build_model(load_config(BASE, [*SMALL, *opts]))


class StoredPyramid(Backbone):
    """Returns stored maps whatever it is shown."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps
        self._shapes = {
            f"p{i}": ShapeSpec(channels=maps["p2"].shape[1], stride=2**i) for i in (2, 3, 4, 5)
        }

    def forward(self, x):
        return self.maps

    def output_shape(self):
        return self._shapes


@pytest.fixture(scope="module")
def case():
    return ReferenceCase(BLOCKS / "sparse_dynamic_head")


def test_proposals_and_predictions_equal_the_published(case):
    meta, outputs = case.meta, case.outputs
    maps = {name: case.tensor(f"in/{name}") for name in ("p2", "p3", "p4", "p5")}
    model = SparseRCNN(
        backbone=StoredPyramid(maps),
        in_features=["p2", "p3", "p4", "p5"],
        num_proposals=meta["num_proposals"],
        num_stages=meta["num_heads"],
        num_heads=meta["nheads"],
        feedforward_dim=meta["dim_feedforward"],
        dynamic_dim=meta["dim_dynamic"],
        num_cls=meta["num_cls"],
        num_reg=meta["num_reg"],
        dropout=0.0,
        pooler_type=meta["pooler_type"],
        pooler_resolution=meta["pooler_resolution"],
        pooler_sampling_ratio=meta["pooler_sampling_ratio"],
        canonical_box_size=224,
        action_prior=0.01,
        num_actions=meta["num_classes"],
        person_only=False,
        exclusive=False,
        aux_loss=True,
        person_thresh=0.0,
        criterion=None,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )
    model.load_state_dict(case.state_dict())  # all official names outside the backbone
    model.double()
    first_boxes = []
    model.head.head_series[0].register_forward_hook(lambda _, x, y: first_boxes.append(x[1]))

    clips = ClipBatch(torch.zeros(2, 3, 1, 128, 192), None, meta["image_sizes"])
    layers = model.predict(clips, all_layers=True)
    assert_close(first_boxes[0], outputs["out/proposal_boxes"], 1e-6)
    size = case.tensor("in/images_whwh")[:, None]
    total = 0
    for i, layer in enumerate(layers):
        boxes = box_convert(layer.boxes, "cxcywh", "xyxy") * size
        for value, name in ((layer.action_logits, "logits"), (boxes, "boxes")):
            assert_close(value, outputs[f"out/{name}"][i], 1e-5)
            total = total + (value * case.tensor(f"in/grad_{name}")[i]).sum()
    total.backward()
    for name in ("init_proposal_features.weight", "init_proposal_boxes.weight"):
        assert_close(model.get_parameter(name).grad, outputs[f"out/grad/{name}"], 1e-5)


def test_proposals_start_as_the_whole_unpadded_clip(make_clip_input):
    model = _model().eval()
    first_boxes = []
    model.head.head_series[0].register_forward_hook(lambda _, x, y: first_boxes.append(x[1]))
    with torch.no_grad():
        model([make_clip_input(4, 48, 70, 5), make_clip_input(4, 60, 33, 5)])
    expected = torch.tensor([[0.0, 0.0, 70.0, 48.0], [0.0, 0.0, 33.0, 60.0]])
    torch.testing.assert_close(first_boxes[0], expected[:, None].expand(-1, 6, -1))


def test_training_reaches_every_parameter(make_clip_input):
    """Proposals of many sizes, so that regions lie on all pyramid levels."""
    model = _model("MODEL.SPARSE_RCNN.CANONICAL_BOX_SIZE", 16).train()
    sides = torch.tensor([0.1, 0.2, 0.3, 0.5, 1.0, 1.1])
    with torch.no_grad():
        model.init_proposal_boxes.weight[:, 2:] = sides[:, None]
    losses = model([make_clip_input(2, 64, 64, 5)])
    assert set(losses) == {
        name + suffix
        for name in ("loss_ce", "loss_bbox", "loss_giou")
        for suffix in ("", "_0", "_1")
    }
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_equal_sizes_in_a_batch_do_not_influence_each_other(make_clip_input):
    model = _model().eval()
    inputs = [make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)]
    clips = [
        ClipBatch.from_clips([x["clip"] for x in group], model.pixel_mean, model.pixel_std, 32)
        for group in (inputs, inputs[:1], inputs[1:])
    ]
    with torch.no_grad():
        (together,), *alone = [model.predict(c) for c in clips]
    for b, (layer,) in enumerate(alone):
        for name in ("action_logits", "boxes"):
            value, expected = getattr(together, name)[b], getattr(layer, name)[0]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    assert (together.action_logits[0] - together.action_logits[1]).abs().max() > 1e-3


def test_detections_are_clipped_and_in_the_wanted_size(make_clip_input):
    model = _model().eval()
    with torch.no_grad():
        for stage in model.head.head_series:
            stage.bboxes_delta.weight.zero_()
            stage.bboxes_delta.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))  # they grow
        (found,) = model([{**make_clip_input(4, 48, 64, 5), "height": 96, "width": 128}])
    expected = torch.tensor([0.0, 0.0, 128.0, 96.0]).expand(6, -1)
    torch.testing.assert_close(found["instances"].pred_boxes.tensor, expected)
    action_scores = found["instances"].action_scores
    assert torch.equal(found["instances"].scores, action_scores.amax(1))
    # The prior of every action, before any training.
    assert 0.001 < action_scores.min() and action_scores.max() < 0.1


def test_exclusive_actions_have_a_no_object_output(make_clip_input):
    model = _model("MODEL.EXCLUSIVE_ACTIONS", True)
    inputs = [make_clip_input(4, 48, 64, 5, num_boxes=n) for n in (2, 0)]
    losses = model.train()(inputs)
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        found = model.eval()(inputs)[0]["instances"]
    assert model.head.head_series[0].class_logits.out_features == 6
    assert found.action_scores.shape == (6, 5)
    torch.testing.assert_close(found.scores, found.action_scores.sum(1))


def test_bfloat16_autocast_trains(make_clip_input):
    assert_trains_in_bfloat16(_model(), [make_clip_input(2, 48, 48, 5)])


def test_overfits_two_clips(make_clip_input):
    model = _model("MODEL.SPARSE_RCNN.NUM_STAGES", 2)
    inputs = [make_clip_input(2, 48, 48, 5, seed=s) for s in range(2)]
    train_on(model, inputs, num_steps=240, learning_rate=3e-3, last_factor=0.1)
    results = assert_all_persons_are_found(model, inputs, min_score=0.3, min_overlap=0.7)
    for clip_input, found in zip(inputs, results):
        assert (found.scores > 0.3).sum() == len(clip_input["instances"])


def test_an_official_coco_checkpoint_loads_by_its_own_names(tmp_path):
    """Head, proposals and pyramid fit where shapes agree; the 2-D trunk is ignored."""
    ours = _model("MODEL.NUM_ACTIONS", 80).state_dict()
    official = {
        key: torch.randn_like(value)
        for key, value in ours.items()
        if not key.startswith("backbone.bottom_up.")
    }
    official["init_proposal_boxes.weight"] = torch.rand(300, 4)  # of another model
    trunk = {
        "backbone.bottom_up.stem.conv1.weight": torch.zeros(64, 3, 7, 7),
        "backbone.bottom_up.stem.conv1.norm.weight": torch.zeros(64),
        "backbone.bottom_up.res2.0.conv1.weight": torch.zeros(64, 64, 1, 1),
    }
    path = str(tmp_path / "coco.pth")
    torch.save({"model": {**official, **trunk}}, path)
    cfg = load_config(BASE, [*SMALL, "MODEL.NUM_ACTIONS", 80, "MODEL.INIT.MIN_MATCHED", 0.1])
    torch.manual_seed(1)
    model = build_model(cfg)
    checkpointer = TubedetCheckpointer(model, min_matched=cfg.MODEL.INIT.MIN_MATCHED)
    checkpointer.load(path)
    report = checkpointer.report
    assert set(report.matched) == set(official) - {"init_proposal_boxes.weight"}
    assert report.mismatched == {"init_proposal_boxes.weight": ((300, 4), (6, 4))}
    assert set(report.ignored) == set(trunk) and not report.unexpected
    assert all(key.startswith("backbone.bottom_up.csn.") for key in report.missing)
    for key in (
        "head.head_series.2.inst_interact.dynamic_layer.weight",
        "backbone.fpn_output3.bias",
    ):
        assert torch.equal(model.state_dict()[key], official[key])


@pytest.mark.parametrize(
    "opts, message",
    [
        (["MODEL.CRITERION.AUX_LOSS", False], "MODEL.CRITERION.AUX_LOSS"),
        (["MODEL.ROI_HEADS.IN_FEATURES", ["res4"]], "MODEL.ROI_HEADS.IN_FEATURES"),
        (["MODEL.BACKBONE.NAME", "build_csn_backbone"], "use build_csn_fpn_backbone"),
    ],
)
def test_wrong_settings_name_their_key(opts, message):
    with pytest.raises(ValueError, match=message):
        _model(*opts)
