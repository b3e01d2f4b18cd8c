"""Cells of maps with two and with three axes in a row."""

import torch

from tubedet.modeling.transformer import LevelTokens


def _levels(*masks):
    maps = [torch.randn(mask.shape[0], 4, *mask.shape[1:]) for mask in masks]
    embed = torch.tensor([[1.0] * 4, [2.0] * 4])[: len(masks)]
    zeros = [torch.zeros_like(x) for x in maps]
    return maps, LevelTokens.from_maps(maps, zeros, list(masks), embed)


def test_cells_of_clips():
    mask = torch.ones(2, 2, 4, 5, dtype=torch.bool)
    mask[0] = False
    mask[1, :, :3, :4] = False  # three of four rows, four of five columns
    coarse = torch.zeros(2, 1, 2, 3, dtype=torch.bool)
    maps, levels = _levels(mask, coarse)
    assert levels.shapes == [(2, 4, 5), (1, 2, 3)]
    assert levels.tokens.shape == (2, 46, 4)
    # Step 1, row 2, column 3 of the first level; row 1, column 2 of the second.
    assert torch.equal(levels.tokens[1, 1 * 20 + 2 * 5 + 3], maps[0][1, :, 1, 2, 3])
    assert torch.equal(levels.tokens[1, 40 + 1 * 3 + 2], maps[1][1, :, 0, 1, 2])
    assert levels.pos[0, 39].tolist() == [1.0] * 4 and levels.pos[0, 40].tolist() == [2.0] * 4
    expected = torch.tensor([[[1, 1, 1], [1, 1, 1]], [[0.8, 0.75, 1], [1, 1, 1]]])
    torch.testing.assert_close(levels.valid_ratios, expected)


def test_centres_are_fractions_of_the_unpadded_clip():
    mask = torch.ones(1, 2, 4, 5, dtype=torch.bool)
    mask[0, :, :3, :4] = False
    _, levels = _levels(mask)
    centre = levels.centres()[0, 1 * 20 + 2 * 5 + 3]  # x, y, t
    torch.testing.assert_close(centre, torch.tensor([3.5 / 4, 2.5 / 3, 1.5 / 2]))
    on_level = levels.on_every_level(levels.centres())[0, 1 * 20 + 2 * 5 + 3, 0]
    torch.testing.assert_close(on_level, torch.tensor([3.5 / 5, 2.5 / 4, 1.5 / 2]))


def test_boxes_of_images_on_a_padded_map():
    mask = torch.ones(1, 4, 5, dtype=torch.bool)
    mask[0, :3, :4] = False
    _, levels = _levels(mask)
    boxes = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])
    found = levels.on_every_level(boxes)[0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0.4, 0.375, 0.8, 0.75]))
