"""Every architecture on a video ViT: training, detection, padding, precision, preparation."""

import copy

import pytest
import torch
from small_detectors import VIT_ARCHITECTURES, small_batch, small_config, small_detector

from tubedet.modeling import ClipBatch, prepare_for_inference
from tubedet.modeling.half_weights import HalfWeights

NAMES = ("action_logits", "person_logits", "boxes", "frame_boxes")
SIZES = ((41, 57), (50, 35))


def _clips(model, sizes=SIZES):
    generator = torch.Generator().manual_seed(1)
    clips = [
        torch.randint(0, 256, (3, 8, *size), dtype=torch.uint8, generator=generator)
        for size in sizes
    ]
    unit = model.backbone.size_divisibility
    return ClipBatch.from_clips(clips, model.pixel_mean, model.pixel_std, unit)


def _outputs(model, clips):
    with torch.no_grad():
        (layer,) = model.predict(clips)
    return {name: getattr(layer, name) for name in NAMES if getattr(layer, name) is not None}


@pytest.mark.parametrize("name", VIT_ARCHITECTURES)
@pytest.mark.parametrize("half", [False, True])
def test_a_training_step_gives_every_parameter_a_gradient(name, half):
    cfg, model = small_detector(name, opts=["MODEL.VIT.DROP_PATH", 0.1])
    batch = small_batch(cfg)
    batch[1]["clip"] = batch[1]["clip"][..., :40, :56]
    torch.manual_seed(0)
    model.train()
    if half:
        with torch.autocast("cpu", torch.bfloat16):
            losses = HalfWeights(model).call(torch.bfloat16, batch)
    else:
        losses = model(batch)
    assert losses and all(loss.dtype == torch.float32 for loss in losses.values())
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        # Regions of Sparse R-CNN may all be on one level.
        on_level = name == "SparseRCNN_ViT" and "lateral_convs" in key
        assert on_level or "backbone" not in key or parameter.grad.any(), key


@pytest.mark.parametrize("name", VIT_ARCHITECTURES)
def test_detections_have_the_size_that_is_asked_for(name):
    cfg, model = small_detector(name)
    unit = model.backbone.size_divisibility
    assert unit == (8 if name in ("TubeR_ViT", "SparseRCNN_ViT", "STMixer_ViT") else 16)
    inputs = [
        {"clip": torch.randint(0, 256, (3, 8, *size), dtype=torch.uint8), "height": 90, "width": 70}
        for size in SIZES
    ]
    with torch.no_grad():
        results = model(inputs)
    for result in results:
        found = result["instances"]
        assert found.image_size == (90, 70) and len(found) > 0
        assert found.action_scores.shape == (len(found), cfg.MODEL.NUM_ACTIONS)
        assert found.pred_boxes.tensor.isfinite().all()


@pytest.mark.parametrize("name", VIT_ARCHITECTURES)
def test_a_prepared_detector_gives_the_same_outputs(name):
    _, model = small_detector(name)
    model.double()
    clips = _clips(model)
    expected = _outputs(model, clips)
    for key, found in _outputs(prepare_for_inference(model), clips).items():
        torch.testing.assert_close(found, expected[key], rtol=0, atol=1e-10)
        assert (found[0] - found[1]).abs().max() > 3e-4  # between the two clips


@pytest.mark.parametrize("name", VIT_ARCHITECTURES)
def test_prepared_for_autocast_it_gives_the_outputs_of_autocast(name):
    _, model = small_detector(name)
    clips, outputs = _clips(model), []
    for dtype in (None, torch.bfloat16):
        prepared = prepare_for_inference(model, dtype)
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(_outputs(prepared, clips))
    for key, found in outputs[1].items():
        torch.testing.assert_close(found, outputs[0][key], rtol=0, atol=0)


def test_with_hidden_padding_a_clip_does_not_see_the_others_of_its_batch():
    opts = ["MODEL.VIT.MASK_PADDING", True, "MODEL.TUBER.MASK_CONTEXT", True]
    _, model = small_detector("TubeR_ViT", opts=opts)
    model.double()
    clips = _clips(model, ((41, 33), (72, 120)))
    found = _outputs(model, clips)
    alone = _outputs(model, _clips(model, ((41, 33),)))
    model.backbone.mask_padding = False
    seen = _outputs(model, clips)
    for key, expected in alone.items():
        torch.testing.assert_close(found[key][:1], expected, rtol=0, atol=1e-9)
        assert (seen[key][:1] - expected).abs().max() > 1e-4


def test_hiding_padding_changes_nothing_where_there_is_none():
    outputs = []
    for hidden in (False, True):
        _, model = small_detector("TubeR_ViT", opts=["MODEL.VIT.MASK_PADDING", hidden])
        outputs.append(_outputs(model, _clips(model, ((48, 64), (48, 64)))))
    for key, found in outputs[1].items():
        assert torch.equal(found, outputs[0][key])


def test_checkpointed_training_is_the_same():
    results = []
    for checkpointing in (False, True):
        opts = ["MODEL.VIT.CHECKPOINTING", checkpointing, "MODEL.VIT.DROP_PATH", 0.5]
        cfg, model = small_detector("TubeR_ViT", opts=opts)
        torch.manual_seed(4)
        losses = model.train()(small_batch(cfg))
        sum(losses.values()).backward()
        results.append([p.grad for p in model.backbone.parameters()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_copies_compute_the_same_and_share_no_table():
    _, model = small_detector("TubeR_ViT")
    clips = _clips(model)
    expected = _outputs(model, clips)
    twin = copy.deepcopy(model)
    assert model.backbone._tables and not twin.backbone._tables
    for key, found in _outputs(twin, clips).items():
        assert torch.equal(found, expected[key])


@pytest.mark.parametrize(
    "config, opts, message",
    [
        ("TubeR_ViT", ["MODEL.BACKBONE.NAME", "build_vit_pyramid_backbone"], "build_vit_backbone"),
        ("D2_ViT", ["MODEL.DEFORMABLE_TUBER.NUM_LEVELS", 2], "MODEL.VIT.OUT_FEATURES"),
        ("SeqFormer_ViT", ["MODEL.SEQFORMER.NUM_STEPS", 8], "MODEL.VIT.TUBELET"),
        (
            "SparseRCNN_ViT",
            ["MODEL.ROI_HEADS.IN_FEATURES", ["p2"]],
            "build_vit_pyramid_2d_backbone",
        ),
    ],
)
def test_messages_name_the_keys_of_the_vit(config, opts, message):
    with pytest.raises(ValueError, match=message):
        _, model = small_detector(config, opts=opts)
        model(small_batch(small_config(config)))
