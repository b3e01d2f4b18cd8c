"""Regions by grid_sample against detectron2's pooler."""

import torch

from tubedet.export.clip_program import _pooling
from tubedet.export.region_sampling import RegionSampling
from tubedet.modeling.heads.dynamic_head import RegionPooler


def test_regions_equal_the_poolers_inside_and_outside_of_the_clip():
    generator = torch.Generator().manual_seed(0)
    pooler = RegionPooler(7, [1 / 4, 1 / 8, 1 / 16], 2, "ROIAlignV2", canonical_box_size=64)
    sampling = RegionSampling(**_pooling(pooler))
    levels = [torch.randn(2, 5, 96 // s, 64 // s, generator=generator).double() for s in (4, 8, 16)]
    corner = torch.rand(2, 40, 2, generator=generator) * 160 - 50
    sides = 2 ** (torch.rand(2, 40, 2, generator=generator) * 7)
    boxes = torch.cat((corner, corner + sides), dim=-1).double()
    expected, found = pooler(levels, boxes), sampling(levels, boxes)
    assert found.shape == (80, 5, 7, 7)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert set(sampling._levels_of(boxes).unique().tolist()) == {0, 1, 2}
    assert (expected == 0).any() and (expected != 0).any()
