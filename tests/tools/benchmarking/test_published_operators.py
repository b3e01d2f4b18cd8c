"""The published operators compute what the product computes."""

import math

import torch
from benchmarking.published_operators import gather_corners

from tubedet.layers.deformable_attention_3d import read_rows


def test_gathering_corners_equals_reading_rows():
    torch.manual_seed(0)
    shapes = [(4, 5, 6), (2, 3, 4)]
    rows = torch.randn(2, sum(math.prod(shape) for shape in shapes), 3, 8, dtype=torch.float64)
    places = torch.rand(2, 7, 3, 2, 4, 3, dtype=torch.float64) * 1.6 - 0.3  # some are outside
    weights = torch.rand(places.shape[:-1], dtype=torch.float64)
    expected = read_rows(rows, places, weights, shapes)
    found = gather_corners(rows, places, weights, shapes)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.std() > 0.3
