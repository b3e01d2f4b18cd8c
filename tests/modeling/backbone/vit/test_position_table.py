import math

import pytest
import torch
import torch.nn.functional as F

from tubedet.modeling.backbone.vit.position_table import (
    _cubic_taps,
    _linear_taps,
    _resample,
    resize_table,
    sine_table,
)


def test_a_token_has_the_code_of_its_number():
    table = sine_table(3, 4, 6)
    assert table.shape == (3, 4, 4, 6) and table.dtype == torch.float32
    n = (2 * 4 + 1) * 4 + 3  # step 2, row 1, column 3
    angles = [n / 10000 ** (2 * pair / 6) for pair in (0, 1, 2)]
    expected = [f(angle) for angle in angles for f in (math.sin, math.cos)]
    torch.testing.assert_close(table[2, 1, 3], torch.tensor(expected), rtol=0, atol=1e-6)
    assert table[0, 0, 0].tolist() == [0, 1, 0, 1, 0, 1]


def test_a_longer_table_begins_with_the_shorter_one():
    assert torch.equal(sine_table(20, 14, 8)[:8], sine_table(8, 14, 8))


def test_the_size_for_which_it_is_made_is_left_alone():
    table = sine_table(2, 14, 10)
    assert torch.equal(resize_table(table, 2, 14, 14), table)


def test_a_smaller_grid_has_bicubic_means_of_four_by_four_neighbours():
    """By hand: at half the size each place is in the middle between two tokens."""
    table = sine_table(1, 8, 6)
    resized = resize_table(table, 1, 4, 4)
    half = torch.tensor([-0.09375, 0.59375, 0.59375, -0.09375])  # the kernel at 1.5, 0.5, 0.5, 1.5
    rows = (table[0, 1:5, 3:7] * half[:, None, None]).sum(0)
    expected = (rows * half[:, None]).sum(0)
    torch.testing.assert_close(resized[0, 1, 2], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(6, 9), (16, 29), (3, 40), (14, 14)])
def test_gathered_neighbours_give_what_pytorch_interpolates(size):
    table = sine_table(2, 14, 12).double()
    maps = F.interpolate(table.permute(0, 3, 1, 2), size, mode="bicubic", align_corners=False)
    found = _resample(_resample(table, 2, size[1], _cubic_taps), 1, size[0], _cubic_taps)
    torch.testing.assert_close(found, maps.permute(0, 2, 3, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [3, 4, 20])
def test_time_is_interpolated_linearly(steps):
    table = sine_table(8, 2, 6).double()
    expected = F.interpolate(table.flatten(1).t()[None], steps, mode="linear")[0].t()
    found = _resample(table, 0, steps, _linear_taps)
    torch.testing.assert_close(found.flatten(1), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(resize_table(table, steps, 2, 2), found, rtol=0, atol=0)
    middle = resize_table(table, 4, 2, 2)[1]
    torch.testing.assert_close(middle, (table[2] + table[3]) / 2, rtol=0, atol=1e-6)


def test_autocast_does_not_make_it_coarse():
    table = sine_table(8, 14, 12)
    with torch.autocast("cpu", torch.bfloat16):
        found = resize_table(table, 12, 5, 7)
    assert torch.equal(found, resize_table(table, 12, 5, 7))
