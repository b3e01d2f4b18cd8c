"""Localizing layers against the published ones, and what they share."""

import pytest
import torch
from class_query_cases import ClassQueryCase, module_weights

from tubedet.modeling.transformer.class_query import FrameMemory, LocalizingLayer

PRECISIONS = [(torch.float64, 1e-9, 1e-8), (torch.float32, 5e-5, 1e-3)]


def _layer(**options):
    layer = {"dim": 256, "num_heads": 8, "feedforward_dim": 2048, "dropout": 0.0, "num_levels": 4}
    return LocalizingLayer(**{**layer, **options})


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("kind", ["first", "later"])
@pytest.mark.parametrize("dtype, tolerance, grad_tolerance", PRECISIONS)
def test_outputs_and_gradients_equal_the_published(kind, dtype, tolerance, grad_tolerance, repeat):
    case = ClassQueryCase(f"cq_localizing_layer_{kind}")
    layer = _layer(is_first=kind == "first", repeat_equal_work=repeat)
    layer.load_state_dict(module_weights(case))
    layer.to(dtype).eval()
    inputs = case.inputs(dtype)
    for value in inputs.values():
        if value.is_floating_point():
            value.requires_grad_()
    memory = FrameMemory(
        inputs["memory"].permute(2, 0, 1, 3),
        inputs["pos"].transpose(0, 1),
        inputs["key_padding_mask"],
        (3, 4),
    )
    by_clip = [inputs[name].transpose(0, 1) for name in ("content", "query_pos", "sine")]
    content, actor, own = layer(by_clip[0], memory, *by_clip[1:])
    outputs = {
        "content": content.transpose(0, 1),
        "actor": actor.transpose(0, 1),
        "query_memory": own.permute(1, 2, 0, 3),
    }
    total = 0
    for name, value in outputs.items():
        case.compare(name, value, tolerance)
        total = total + (value * case.cotangent(name, value)).sum()
    total.backward()
    for name in ("content", "memory", "pos", "query_pos", "sine"):
        case.compare(f"grad_{name}", inputs[name].grad, grad_tolerance)
    case.compare("grad_lvl_w_embed", layer.lvl_w_embed.weight.grad, grad_tolerance)


def _inputs():
    torch.manual_seed(0)
    memory = FrameMemory(
        torch.randn(2, 4, 12, 16), torch.randn(2, 12, 16), torch.zeros(2, 12).bool(), (3, 4)
    )
    memory.mask[1, 9:] = True
    return memory, torch.randn(2, 5, 16), torch.randn(2, 5, 16)


def test_without_content_all_queries_have_one_memory():
    memory, query_pos, sine = _inputs()
    layer = _layer(dim=16, num_heads=2, feedforward_dim=24, is_first=True)
    shared = layer.eval()(None, memory, query_pos, sine)
    assert shared[2].shape == (2, 1, 12, 16)
    layer.repeat_equal_work = True
    full = layer(None, memory, query_pos, sine)
    assert full[2].shape == (2, 5, 12, 16)
    for one, two in zip(shared, full):
        torch.testing.assert_close(one.expand_as(two), two, rtol=0, atol=1e-5)


def test_training_has_a_gradient_for_every_weight():
    """None is missing, as processes that train together need."""
    memory, query_pos, sine = _inputs()
    layer = _layer(dim=16, num_heads=2, feedforward_dim=24, is_first=True, dropout=0.1).train()
    content, _, own = layer(None, memory, query_pos, sine)
    (content.sum() + own.square().sum()).backward()
    assert [name for name, p in layer.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("repeat", [False, True])
def test_padded_cells_are_not_read(repeat):
    memory, query_pos, sine = _inputs()
    layer = _layer(
        dim=16, num_heads=2, feedforward_dim=24, is_first=False, repeat_equal_work=repeat
    ).eval()
    content = torch.randn(2, 5, 16)
    before = layer(content, memory, query_pos, sine)[1]
    memory.maps[1, :, 9:] += 1
    after = layer(content, memory, query_pos, sine)[1]
    torch.testing.assert_close(after, before)
    memory.maps[0, :, 9:] += torch.randn(16)
    assert (layer(content, memory, query_pos, sine)[1] - before)[0].abs().max() > 1e-3


@pytest.mark.parametrize("is_first", [True, False])
def test_float16_holds_the_scores_of_strong_queries(is_first):
    """Products of 190,000 are scaled to 34,000; float16 ends at 65,504."""
    memory, content, query_pos, sine = *_inputs(), torch.randn(2, 5, 16)
    layer = _layer(dim=16, num_heads=1, feedforward_dim=16, is_first=is_first).eval()
    weight = 140 * torch.eye(16)
    for projection in (layer.ca_qpos_sine_proj, layer.ca_kpos_proj):
        projection.weight.data = weight.clone()
    scores = (sine @ weight) @ (memory.pos @ weight).transpose(-2, -1)
    assert 7e4 < scores.abs().max() < 3e5
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        found = layer(content, memory, query_pos, sine)
    assert all(torch.isfinite(x).all() for x in found)
