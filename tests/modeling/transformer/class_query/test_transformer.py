"""The encoder of the class-query detector against the published one, and the whole transformer."""

from functools import partial

import pytest
import torch
from class_query_cases import ClassQueryCase, module_weights

from tubedet.errors import UserError
from tubedet.layers import MultiScaleDeformableAttention3d
from tubedet.modeling.heads import BoxHead
from tubedet.modeling.transformer import ClassQueryTransformer, DeformableEncoder, LevelTokens

SMALL = {
    "dim": 32,
    "num_heads": 4,
    "feedforward_dim": 48,
    "enc_layers": 2,
    "dec_layers": 3,
    "dropout": 0.1,
    "action_dropout": 0.5,
    "num_levels": 3,
    "enc_points": 2,
    "num_classes": 5,
}


def _run(transformer, **options):
    torch.manual_seed(1)
    maps = [torch.randn(2, 32, *size) for size in ((4, 6, 8), (2, 3, 4), (2, 3, 4))]
    masks = [torch.zeros(2, *x.shape[-2:], dtype=torch.bool) for x in maps]
    for mask in masks:
        mask[1, :, -1] = True
    anchors = torch.rand(1, 6, 4) * 0.5 + 0.2
    torch.manual_seed(2)
    box_head = BoxHead(32)
    return transformer(
        maps, masks, anchors, box_head, **{"num_frames": 8, "frames": [4], **options}
    )


@pytest.mark.parametrize(
    "dtype, tolerance, grad_tolerance", [(torch.float64, 1e-9, 1e-8), (torch.float32, 5e-5, 1e-3)]
)
def test_an_encoder_layer_equals_the_published(dtype, tolerance, grad_tolerance):
    case = ClassQueryCase("cq_encoder_layer")
    encoder = DeformableEncoder(
        1,
        dim=256,
        num_heads=8,
        feedforward_dim=2048,
        dropout=0.0,
        num_levels=4,
        num_points=8,
        attention=MultiScaleDeformableAttention3d,
    )
    encoder.load_state_dict(module_weights(case))
    encoder.to(dtype)
    inputs = case.inputs(dtype)
    masks = [inputs[f"mask{i}"] for i in range(4)]
    sizes = [mask[0].numel() for mask in masks]

    def as_maps(tokens):
        parts = tokens.transpose(1, 2).split(sizes, dim=2)
        return [part.unflatten(2, mask.shape[1:]) for part, mask in zip(parts, masks)]

    src, pos = inputs["src"].requires_grad_(), inputs["pos"].requires_grad_()
    embed = torch.zeros(4, 256, dtype=dtype)
    levels = LevelTokens.from_maps(as_maps(src), as_maps(pos), masks, embed)
    assert levels.valid_ratios.numpy().tolist() == case.outputs["out/valid_ratios"].tolist()
    references = levels.on_every_level(levels.centres())
    assert references.numpy().tolist() == case.outputs["out/reference_points"].tolist()
    output = encoder(levels)
    case.compare("output", output, tolerance)
    (output * case.cotangent("output", output)).sum().backward()
    layer = encoder.layers[0]
    case.compare("grad_src", src.grad, grad_tolerance)
    case.compare("grad_pos", pos.grad, grad_tolerance)
    offsets = layer.self_attn.sampling_offsets.bias.grad
    case.compare("grad_sampling_offsets_bias", offsets, grad_tolerance)
    case.compare("grad_linear1_bias", layer.linear1.bias.grad, grad_tolerance)


@pytest.mark.parametrize("frames", [[4], [0, 3, 7]])
def test_equal_work_is_not_repeated(frames):
    """Outputs and gradients are those of the published order of work."""
    outputs, gradients = [], []
    for repeat in (True, False):
        torch.manual_seed(0)
        transformer = ClassQueryTransformer(**SMALL, repeat_equal_work=repeat).eval().double()
        for parameter in transformer.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        transformer.float()
        anchors = torch.rand(len(frames), 6, 4) * 0.5 + 0.2
        layers = _run_with(transformer, anchors, frames)
        outputs += [[x.boxes, x.action_logits, x.class_attention] for x in layers]
        sum((x.boxes.sum() + x.action_logits.square().sum()) for x in layers).backward()
        gradients.append({n: p.grad for n, p in transformer.named_parameters()})
    half = len(outputs) // 2
    for one, two in zip(outputs[:half], outputs[half:]):
        for x, y in zip(one, two):
            if x is not None:
                torch.testing.assert_close(x, y, rtol=0, atol=2e-6)
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        if other is None:  # of the first layer, in which all contents are zero
            assert name.startswith("decoder.layers.0.sa_")
            other = torch.zeros_like(gradient)
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-4, msg=name)


def _run_with(transformer, anchors, frames):
    torch.manual_seed(1)
    maps = [torch.randn(2, 32, *size) for size in ((4, 6, 8), (2, 3, 4), (2, 3, 4))]
    masks = [torch.zeros(2, *x.shape[-2:], dtype=torch.bool) for x in maps]
    for mask in masks:
        mask[1, :, -1] = True
    torch.manual_seed(2)
    return transformer(
        maps,
        masks,
        anchors,
        BoxHead(32),
        num_frames=8,
        frames=frames,
        with_attention=True,
    )


def test_initial_values():
    transformer = ClassQueryTransformer(**SMALL)
    weights = dict(transformer.named_parameters())
    bound = (6 / (5 + 32)) ** 0.5
    queries = weights["decoder.class_queries.weight"]
    assert queries.shape == (5, 32) and queries.abs().max() <= bound < 1.5 * queries.abs().max()
    conv = weights["decoder.cls_layers.0.conv_block.conv1.weight"]
    assert conv.abs().max() <= (6 / (2 * 9 * 32)) ** 0.5 < 1.1 * conv.abs().max()
    for name in ("decoder.layers.1.self_attn.out_proj", "encoder.layers.0.self_attn.value_proj"):
        assert not weights[f"{name}.bias"].any()
    assert not weights["encoder.layers.1.self_attn.attention_weights.weight"].any()
    assert 0.8 < weights["level_embed"].std() < 1.2


def test_logits_are_zero_at_first_unless_some_channels_drop_out():
    torch.manual_seed(0)
    transformer = ClassQueryTransformer(**SMALL).eval()
    assert _run(transformer)[-1].action_logits.abs().max() < 1e-6
    assert _run(transformer.train())[-1].action_logits.abs().max() > 0.05


def test_the_grid_is_on_a_level_that_is_there():
    with pytest.raises(UserError, match="GRID_LEVEL is 2; choose one of the .*NUM_LEVELS 2 levels"):
        ClassQueryTransformer(**{**SMALL, "num_levels": 2})


def test_one_gradient_of_an_offset_divided_by_its_own_side():
    """The option reaches every layer of the encoder."""
    for normalizer in ("published", "right"):
        transformer = ClassQueryTransformer(**SMALL, offset_normalizer=normalizer)
        found = {layer.self_attn.normalizer for layer in transformer.encoder.layers}
        assert found == {normalizer}
    assert partial(MultiScaleDeformableAttention3d)(32, 4, 3, 2).normalizer == "published"
