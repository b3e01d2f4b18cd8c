"""RoIActionDetector on a ViT computes what VideoMAE-Action-Detection and UMT compute."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from reference_cases import ROI_HEAD, ReferenceCase, assert_close

from tubedet import load_model
from tubedet.checkpoint.released_names import to_tubedet_names
from tubedet.engine import load_config
from tubedet.modeling import ClipBatch, RoIActionDetector, ViT
from tubedet.modeling.box_action_loss import box_action_loss
from tubedet.modeling.given_boxes import GivenBoxes

# How the published code names the parameters whose gradients are stored.
STORED = {
    "head.weight": "action_head.fc.weight",
    "blocks.0.attn.qkv.weight": "backbone.blocks.0.attn.qkv.weight",
    "norm.weight": "backbone.norm.weight",
    "patch_embed.proj.bias": "backbone.patch_embed.proj.bias",
}
RUNS = [("videomae_roi", "single"), ("videomae_roi", "padded"), ("umt_roi", "padded")]
# Results to the largest expected value.
PRECISIONS = [(torch.float64, 1e-6, 1e-6), (torch.float32, 1e-4, 1e-3)]


def _detector(case, dtype):
    config = case.meta["config"]
    dim = config["embed_dim"]
    backbone = ViT(
        width=dim,
        depth=config["depth"],
        num_heads=config["num_heads"],
        mlp_width=4 * dim,
        tubelet=config["tubelet_size"],
        num_frames=case.meta["num_frames"],
    )
    rules = GivenBoxes(
        inclusive_pixels=True,
        extension=config["extension"],
        score_thresh=0.0,
        jitter_outward=config["jitter"][:2],
        jitter_inward=config["jitter"][2:],
        use_proposals=False,
        proposal_iou=0.9,
        keep_negatives=True,
        max_boxes=100,
    )
    model = RoIActionDetector(
        backbone=backbone,
        num_actions=config["num_classes"],
        pixel_mean=config["pixel_mean_255"],
        pixel_std=config["pixel_std_255"],
        in_features=[],
        boxes=rules,
        pooler_resolution=7,
        pooler_sampling_ratio=0,
        pooler_aligned=False,
        temporal_pool="avg",
        dropout=0.0,
        first_column=0,
        action_prior=0.5,
        exclusive=False,
        score_times_box=True,
        action_loss="bce",
        loss_reduction="sum",
        loss_weight=1.0,
        focal_alpha=0.25,
        focal_gamma=2.0,
    )
    model.load_state_dict(to_tubedet_names(case.state_dict()).weights)  # all of them, by name
    model.to(dtype)
    for name, key in (("pixel_mean", "pixel_mean_255"), ("pixel_std", "pixel_std_255")):
        value = torch.tensor(config[key], dtype=torch.float64) / 255
        setattr(model, name, value.view(3, 1, 1, 1).to(dtype))
    return model.eval()


def _clips(case, model, run):
    """The padded clips, normalised in the precision of the model."""
    spec, clips = case.meta["runs"][run], case.clips(run)
    batch = ClipBatch.from_clips(
        clips, model.pixel_mean, model.pixel_std, model.backbone.size_divisibility
    )
    assert list(batch.tensor.shape[-2:]) == spec["padded_to"]
    for row, clip in zip(batch.tensor, clips):
        exact = (clip.to(row.dtype) / 255 - model.pixel_mean) / model.pixel_std
        row[..., : clip.shape[2], : clip.shape[3]] = exact
    return batch


def _each(case, run, key, dtype=torch.float32):
    return [case.tensor(f"{run}/{key}{b}", dtype) for b in range(len(case.clips(run)))]


def _inputs(case, run):
    """Inputs of a model, whose boxes end where the next pixel begins, and the stored sizes."""
    spec = case.meta["runs"][run]
    inputs = []
    given = zip(_each(case, run, "in/boxes"), _each(case, run, "in/scores"))
    sizes = zip(spec["sizes"], spec["video_sizes_hw"])
    for clip, (boxes, scores), (size, stored) in zip(case.clips(run), given, sizes):
        last_pixel = torch.tensor([0, 0, size[1] / stored[1], size[0] / stored[0]])
        proposals = Instances(size, proposal_boxes=Boxes(boxes + last_pixel), scores=scores)
        inputs.append(
            {"clip": clip, "proposals": proposals, "height": stored[0], "width": stored[1]}
        )
    return inputs, spec["video_sizes_hw"]


@pytest.mark.parametrize("dtype, forward, _", PRECISIONS)
@pytest.mark.parametrize("name, run", RUNS)
def test_logits_are_the_published(name, run, dtype, forward, _):
    case = ReferenceCase(ROI_HEAD / name)
    model = _detector(case, dtype)
    with torch.no_grad():
        logits = model.action_logits(_clips(case, model, run), _each(case, run, "out/extended"))
    assert_close(logits, case.outputs[f"{run}/out/logits"], forward)


@pytest.mark.parametrize("name, run", RUNS)
def test_bins_are_the_published(name, run):
    case = ReferenceCase(ROI_HEAD / name)
    model = _detector(case, torch.float64)
    regions = [
        torch.cat((torch.full((len(boxes), 1), float(b)), boxes), 1)
        for b, boxes in enumerate(_each(case, run, "out/extended"))
    ]
    with torch.no_grad():
        maps = model.feature_maps(_clips(case, model, run))
        (bins,) = model.action_head.align(maps, torch.cat(regions))
    assert_close(bins[:, ::8].mean((2, 3)), case.outputs[f"{run}/out/roi_mean"], 1e-6)
    assert_close(bins[:, ::8].amax((2, 3)), case.outputs[f"{run}/out/roi_max"], 1e-6)


@pytest.mark.parametrize("name, run", RUNS)
def test_rows_of_the_csv_are_the_published(name, run):
    """From boxes that end where the next pixel begins, as files and data sets have them."""
    case = ReferenceCase(ROI_HEAD / name)
    model = _detector(case, torch.float64)
    inputs, stored_sizes = _inputs(case, run)
    with torch.no_grad():
        found = [x["instances"] for x in model(inputs)]
    for b, (instances, (height, width)) in enumerate(zip(found, stored_sizes)):
        fractions = instances.pred_boxes.tensor / torch.tensor([width, height, width, height])
        rows = fractions.repeat_interleave(80, 0)
        assert_close(rows, case.outputs[f"{run}/post/boxes{b}"], 1e-6)
        assert_close(instances.action_scores.flatten(), case.outputs[f"{run}/post/scores{b}"], 1e-5)
        ids = case.tensor(f"{run}/post/action_ids{b}").view(-1, 80)
        assert (ids == torch.arange(1, 81)).all()


@pytest.mark.parametrize("dtype, forward, backward", PRECISIONS)
@pytest.mark.parametrize("name, run", RUNS)
def test_loss_and_gradients_are_the_published(name, run, dtype, forward, backward):
    case = ReferenceCase(ROI_HEAD / name)
    model = _detector(case, dtype)
    clips = _clips(case, model, run)
    clips.tensor.requires_grad_()
    logits = model.action_logits(clips, _each(case, run, "train/jittered"))
    labels = torch.cat(_each(case, run, "in/labels"))
    loss = box_action_loss(logits, labels, **model.loss)
    assert_close(logits, case.outputs[f"{run}/train/logits"], forward)
    assert loss.item() == pytest.approx(case.outputs[f"{run}/train/loss"].item(), rel=forward)
    loss.backward()
    gradients = {"input": clips.tensor.grad}
    gradients |= {theirs: model.get_parameter(ours).grad for theirs, ours in STORED.items()}
    for key, gradient in gradients.items():
        where = case.tensor(f"{run}/train/grad/{key}_idx").long()
        expected = case.tensor(f"{run}/train/grad/{key}")
        error = (gradient.flatten()[where].double() - expected).abs().max()
        assert error <= backward * expected.abs().max(), key


@pytest.mark.parametrize("name", ["videomae_roi", "umt_roi"])
def test_a_released_file_and_the_config_give_the_published_scores(name, tmp_path):
    """Loaded whole, by its own names, and normalised with the statistics of the config."""
    case = ReferenceCase(ROI_HEAD / name)
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": case.state_dict(), "epoch": 29}, path)
    config = case.meta["config"]
    dim, frames = config["embed_dim"], case.meta["num_frames"]
    opts = ["MODEL.VIT.SIZE", "custom", "MODEL.VIT.WIDTH", dim, "MODEL.VIT.MLP_WIDTH", 4 * dim]
    opts += ["MODEL.VIT.DEPTH", config["depth"], "MODEL.VIT.NUM_HEADS", config["num_heads"]]
    opts += ["MODEL.VIT.TUBELET", config["tubelet_size"], "INPUT.CLIP.NUM_FRAMES", frames]
    opts += ["MODEL.INIT.MIN_MATCHED", 1.0, "MODEL.WEIGHTS", str(path), "MODEL.DEVICE", "cpu"]
    opts += ["MODEL.ROI_ACTION.BOX_SCORE_THRESH", 0.0]
    model = load_model(load_config("configs/AVA/RoI_ViTB_AVA22.yaml", opts))
    assert not model.training and model.boxes.inclusive_pixels
    inputs, stored = _inputs(case, "padded")
    with torch.no_grad():
        found = [x["instances"] for x in model(inputs)]
    for b, instances in enumerate(found):
        expected = case.outputs[f"padded/post/scores{b}"]
        assert_close(instances.action_scores.flatten(), expected, 1e-4)
        assert instances.image_size == tuple(stored[b])
