"""Deformable attention against the published one, and its own contracts."""

import math

import pytest
import torch
from reference_cases import BLOCKS, ReferenceCase, assert_close

from tubedet.layers import MultiScaleDeformableAttention


@pytest.mark.parametrize("reference_dim", [2, 4])
def test_output_and_gradients_equal_the_published(reference_dim):
    case = ReferenceCase(BLOCKS / f"ms_deform_attn_ref{reference_dim}")
    meta = case.meta
    attention = MultiScaleDeformableAttention(
        meta["d_model"], meta["n_heads"], meta["n_levels"], meta["n_points"]
    )
    attention.load_state_dict(case.state_dict())
    attention.double()
    names = ("query", "reference_points", "input_flatten")
    query, references, memory = (case.tensor(f"in/{name}").requires_grad_() for name in names)
    mask = case.tensor("in/padding_mask")
    shapes = [tuple(shape) for shape in meta["spatial_shapes"]]
    output = attention(query, references, memory, shapes, mask)
    assert_close(output, case.outputs["out/output"], 1e-6)
    (output * case.tensor("in/grad_output")).sum().backward()
    for name, tensor in zip(names, (query, references, memory)):
        assert_close(tensor.grad, case.outputs[f"out/grad_{name}"], 1e-5)


def test_a_point_between_cells_is_interpolated():
    """One head and point: the value halfway between two cells is their mean."""
    attention = MultiScaleDeformableAttention(4, 1, 1, 1)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.tensor([0.5, 0.0]))
        attention.value_proj.weight.copy_(torch.eye(4))
        memory = torch.randn(1, 6, 4)
        centre = torch.tensor([0.5 / 3, 0.5 / 2]).view(1, 1, 1, 2)
        sampled = attention.sample(torch.randn(1, 1, 4), centre, memory, [(2, 3)])
        torch.testing.assert_close(sampled[0, 0], memory[0, :2].mean(0))
        # The neighbour is padding: it counts as zero, not as missing.
        mask = torch.tensor([[False, True, False, False, False, False]])
        sampled = attention.sample(torch.randn(1, 1, 4), centre, memory, [(2, 3)], mask)
        torch.testing.assert_close(sampled[0, 0], memory[0, 0] / 2)


def test_initial_offsets_are_rings_around_the_reference():
    attention = MultiScaleDeformableAttention(32, 8, 2, 3)
    ring = attention.sampling_offsets.bias.view(8, 2, 3, 2)
    for head in range(8):
        direction = torch.tensor([math.cos(head * math.pi / 4), math.sin(head * math.pi / 4)])
        direction /= direction.abs().max()
        for point in range(3):
            expected = (direction * (point + 1)).expand(2, -1)
            torch.testing.assert_close(ring[head, :, point], expected, rtol=0, atol=1e-5)
    assert not attention.sampling_offsets.weight.any()
    assert not attention.attention_weights.weight.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_still_tells_neighbouring_cells_apart(dtype):
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(32, 4, 1, 2)
    query, memory = torch.randn(1, 300, 32), torch.randn(1, 300, 32)
    references = ((torch.arange(300) + 0.5) / 300).view(1, 300, 1, 1)
    references = torch.cat((references, torch.full_like(references, 0.5)), -1)
    with torch.no_grad():
        expected = attention(query, references, memory, [(1, 300)])
        half = attention.to(dtype)
        output = half(query.to(dtype), references, memory.to(dtype), [(1, 300)])
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.05)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="3 attention heads do not divide 16"):
        MultiScaleDeformableAttention(16, 3, 1, 1)
