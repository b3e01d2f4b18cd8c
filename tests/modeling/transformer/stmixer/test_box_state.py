"""Boxes as centre, size and shape: against what the published code computed and by hand."""

import math

import pytest
import torch
from reference_cases import assert_relatively_close
from stmixer_cases import stmixer_case

from tubedet.modeling.transformer.stmixer.box_state import (
    box_corners,
    box_fractions,
    box_sides,
    covered_shares,
    overlap_bias,
    position_code,
    refine_state,
    whole_clips,
)


def test_boxes_codes_and_shares_are_the_published_ones():
    case = stmixer_case("sampling_4d")
    state = case.tensor("in/xyzr")
    assert_relatively_close(box_corners(state), case.outputs["boxes"], 1e-8)
    assert_relatively_close(position_code(state, 64), case.outputs["pe"], 1e-7)
    shares = covered_shares(case.tensor("boxes"))
    assert_relatively_close(shares, case.outputs["iof"], 1e-8)


def test_a_whole_clip_has_the_sides_of_the_clip():
    sides = torch.tensor([[[64.0, 16.0]], [[32.0, 128.0]]])
    state = whole_clips(sides)
    assert state[:, 0].tolist() == [[32, 8, 5, -2], [16, 64, 6, 2]]
    assert torch.equal(box_sides(state), sides)
    assert box_fractions(state, sides).tolist() == [[[0.5, 0.5, 1, 1]]] * 2


def test_the_centre_moves_by_the_root_of_the_area():
    state = torch.tensor([10.0, 20.0, 4.0, -2.0], requires_grad=True)
    delta = torch.tensor([0.5, -0.25, 1.0, 0.5])
    refined = refine_state(state, delta)
    assert refined.tolist() == [18.0, 16.0, 5.0, -1.5]
    (gradient,) = torch.autograd.grad(refined[0], state)
    # Through 2^z as well: 0.5 · 16 · ln 2.
    assert gradient.tolist() == pytest.approx([1, 0, 8 * math.log(2), 0])


def test_a_share_is_of_the_box_that_looks():
    small, large, far = [0.0, 0, 2, 2], [0.0, 0, 4, 4], [8.0, 8, 9, 9]
    shares = covered_shares(torch.tensor([[small, large, far]]))[0]
    assert shares.tolist() == [[1, 1, 0], [0.25, 1, 0], [0, 0, 1]]


def test_overlap_weakens_the_attention_of_boxes_apart_and_trains_its_strength_alone():
    state = torch.tensor([[[1.0, 1, 1, 0], [2.0, 2, 2, 0], [9.0, 9, 0, 0]]])
    strength = torch.tensor([0.5, 2.0], requires_grad=True)
    bias = overlap_bias(state, strength)
    assert bias.shape == (1, 2, 3, 3)
    assert bias[0, 1, 1, 0].item() == pytest.approx(2 * math.log(0.25), rel=1e-5)
    assert bias[0, 0, 0, 2].item() == pytest.approx(0.5 * math.log(1e-7), rel=1e-5)
    (gradient,) = torch.autograd.grad(bias.sum(), strength)
    assert torch.allclose(gradient, (bias.sum((0, 2, 3)) / strength).detach())


def test_the_code_has_a_quarter_for_each_number():
    code = position_code(torch.tensor([500.0, 250.0, 3.0, -1.0]), 16)
    assert code.shape == (16,)
    for quarter, value in zip(code.view(4, 4), (0.5, 0.25, 3.0, -1.0)):
        expected = [math.sin(value), math.cos(value), math.sin(value / 100), math.cos(value / 100)]
        assert quarter.tolist() == pytest.approx(expected)
