"""Points in space and scale, against what the published code computed and by hand."""

import numpy as np
import pytest
import torch
from reference_cases import assert_relatively_close
from stmixer_cases import drawn_maps, padded_sides, stmixer_case

from tubedet.modeling.transformer.stmixer.box_state import box_corners, box_sides
from tubedet.modeling.transformer.stmixer.sampling import (
    level_weights,
    sample_maps,
    sampling_points,
)


def _reference():
    case = stmixer_case("sampling_4d")
    config = case.meta["config"]
    state = case.tensor("in/xyzr").requires_grad_()
    shape = (config["B"], config["N"], config["groups"], config["points"], 3)
    offsets = np.float32(0.45) * case.draw("in/offset", (*shape[:2], shape[2] * shape[3] * 3))
    offsets = offsets.double().requires_grad_()
    points = sampling_points(offsets.view(shape), state, box_sides(state))
    return case, state, offsets, points


def test_points_features_and_gradients_are_the_published_ones():
    case, state, offsets, points = _reference()
    assert_relatively_close(points.flatten(2, 3), case.outputs["points"], 1e-8)
    maps = drawn_maps(case)
    sampled = sample_maps(maps, points, padded_sides(maps), 3.0)
    sampled = sampled.permute(0, 4, 1, 3, 5, 2)  # (B, N, G, T, P, C / G)
    rows = sampled.flatten(0, 4)[case.outputs["sampled_rows"]]
    assert_relatively_close(rows, case.outputs["sampled"], 1e-8)
    stats = torch.stack([sampled.mean(), sampled.abs().mean(), sampled.abs().max()])
    assert_relatively_close(stats, case.outputs["sampled_stats"], 1e-8)
    loss = (sampled * case.draw("cotangent/sampled", sampled.shape)).sum()
    wanted = {"offset": offsets, "xyzr": state}
    wanted |= {f"level{level}": maps[level] for level in (0, 2, 3)}
    gradients = dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values()))))
    for name, gradient in gradients.items():
        found = gradient.flatten()[case.outputs[f"grad/{name}_idx"]]
        assert_relatively_close(found, case.outputs[f"grad/{name}"], 1e-8)


def test_float32_is_as_close_as_rounding_allows():
    case, _, _, points = _reference()
    maps = [level.detach().float() for level in drawn_maps(case)]
    sampled = sample_maps(maps, points.detach().float(), padded_sides(maps), 3.0)
    rows = sampled.permute(0, 4, 1, 3, 5, 2).flatten(0, 4)[case.outputs["sampled_rows"]]
    assert_relatively_close(rows, case.outputs["sampled"], 1e-4)


def test_offsets_count_in_whole_sides_of_the_box():
    # 32 wide and 8 high: z = log2 16, r = log2 1/4.
    state = torch.tensor([[[50.0, 20.0, 4.0, -2.0]]])
    offsets = torch.tensor([0.5, -0.25, 1.5]).view(1, 1, 1, 1, 3)
    points = sampling_points(offsets, state, box_sides(state))
    assert points.flatten().tolist() == [66.0, 18.0, 5.5]
    assert box_corners(state).flatten().tolist() == [34.0, 16.0, 66.0, 24.0]


def test_a_scale_in_the_middle_of_two_levels_reads_both_alike():
    weights = level_weights(torch.tensor([4.5, 3.0]), 3, 3.0)
    assert weights[0, 1] == weights[0, 2]
    # exp(-0.5²/2) : exp(-0.5²/2) : exp(-1.5²/2)
    far = np.exp(-1.125) / (np.exp(-1.125) + 2 * np.exp(-0.125))
    assert weights[0, 0] == pytest.approx(far)
    assert weights[1, 0] > 0.5 and weights.sum(-1).tolist() == pytest.approx([1, 1])


def test_a_group_reads_its_own_channels_at_the_centres_of_cells():
    # One level of stride 4; cell (row 1, column 2) has its centre at (10, 6).
    level = torch.arange(2 * 2 * 3 * 4.0).view(1, 4, 1, 3, 4)
    points = torch.tensor([10.0, 6.0, 3.0]).expand(1, 1, 2, 1, 3)
    found = sample_maps([level], points, torch.tensor([16.0, 12.0]), 3.0)
    assert found.shape == (1, 2, 2, 1, 1, 1)
    assert found.flatten().tolist() == level[0, :, 0, 1, 2].tolist()
    outside = torch.tensor([-10.0, 6.0, 3.0]).expand(1, 1, 2, 1, 3)
    assert not sample_maps([level], outside, torch.tensor([16.0, 12.0]), 3.0).any()
