"""Resampling of all levels to frames on one grid."""

import pytest
import torch
from class_query_cases import ClassQueryCase

from tubedet.errors import UserError
from tubedet.modeling.transformer import LevelTokens
from tubedet.modeling.transformer.class_query import interpolation_matrix
from tubedet.modeling.transformer.class_query.grid import FrameGrid


def _levels(maps, positions=None, masks=None):
    if masks is None:
        masks = [torch.zeros(x.shape[0], *x.shape[2:], dtype=torch.bool) for x in maps]
    positions = maps if positions is None else positions
    embed = torch.zeros(len(maps), maps[0].shape[1], dtype=maps[0].dtype)
    return LevelTokens.from_maps(maps, positions, masks, embed)


def _resample(grid, levels, num_frames, frames):
    cells = grid.wanted_cells(levels.shapes, num_frames, frames)
    return grid.resample(levels.tokens[:, cells], levels, num_frames, frames)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 5e-5)])
def test_all_frames_equal_the_published(dtype, tolerance):
    case = ClassQueryCase("cq_to_grid")
    inputs = case.inputs(dtype)
    maps, positions = ([inputs[f"{kind}{i}"] for i in range(4)] for kind in ("level", "pos"))
    masks = [torch.zeros(x.shape[0], *x.shape[2:], dtype=torch.bool) for x in maps]
    masks[2] = inputs["mask2"]
    memory = _resample(FrameGrid(), _levels(maps, positions, masks), 8, list(range(8)))
    assert memory.shape == (3, 4)
    found = memory.maps.unflatten(0, (2, 8)).unflatten(3, (3, 4))  # b t l h w c
    case.compare("memory", found.permute(2, 0, 5, 1, 3, 4), tolerance)
    pos = memory.pos.unflatten(0, (2, 8)).unflatten(2, (3, 4))
    case.compare("pos", pos.permute(0, 4, 1, 2, 3), tolerance)
    mask = memory.mask.unflatten(0, (2, 8)).unflatten(2, (3, 4))
    assert mask.numpy().tolist() == case.outputs["out/mask"].tolist()


def test_the_key_frame_alone_is_one_of_all():
    torch.manual_seed(0)
    sizes = [(8, 6, 8), (4, 3, 4), (2, 3, 4), (2, 2, 2)]
    levels = _levels([torch.randn(2, 5, *size) for size in sizes])
    grid = FrameGrid()
    together = _resample(grid, levels, 16, list(range(16)))
    key = _resample(grid, levels, 16, [8])
    torch.testing.assert_close(key.maps, together.maps.unflatten(0, (2, 16))[:, 8])
    assert torch.equal(key.pos, together.pos.unflatten(0, (2, 16))[:, 8])
    # Two of the steps of each level are enough.
    cells = grid.wanted_cells(levels.shapes, 16, [8])
    assert len(cells) == 2 * (6 * 8 + 3 * 4 + 3 * 4 + 2 * 2)
    assert cells[0] == 3 * 48  # frame 8 of 0 .. 15 is at 3.77 + 0.5 of 8 steps


def test_ends_of_a_line():
    """Published: an end is the border of the last cell, beyond which is nothing."""
    published = interpolation_matrix(4, 2, "published")
    assert published.tolist() == [[0.5, 0, 0, 0], [0, 0, 0, 0.5]]
    right = interpolation_matrix(4, 2, "right")
    assert right.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert torch.equal(interpolation_matrix(5, 5, "right"), torch.eye(5, dtype=torch.float64))
    middle = interpolation_matrix(2, 3, "published")[1]
    assert middle.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("way, steps", [("published", [0, 1, 0, 1]), ("right", [0, 0, 1, 1])])
def test_the_step_of_the_position_code(way, steps):
    maps = [torch.zeros(1, 1, 2, 1, 1) for _ in range(3)]
    positions = [torch.tensor([0.0, 1.0]).view(1, 1, 2, 1, 1)] * 3
    memory = _resample(FrameGrid(time_code=way), _levels(maps, positions), 4, [0, 1, 2, 3])
    assert memory.pos.flatten().tolist() == steps


@pytest.mark.parametrize("key", ["positions", "time_code"])
def test_an_unknown_way_is_refused(key):
    names = {"positions": "GRID_POSITIONS", "time_code": "TIME_CODE"}
    with pytest.raises(UserError, match=f"MODEL.CLASS_QUERY.{names[key]} is 'wrong'; choose"):
        FrameGrid(**{key: "wrong"})


def test_another_level_gives_the_grid():
    torch.manual_seed(0)
    sizes = [(4, 6, 8), (2, 3, 4)]
    levels = _levels([torch.randn(1, 5, *size) for size in sizes])
    memory = _resample(FrameGrid(level=0, positions="right"), levels, 4, [2])
    assert memory.shape == (6, 8) and memory.maps.shape == (1, 2, 48, 5)
    # Centre to centre, the level of the grid is its own.
    own = levels.tokens[0, : 4 * 48].unflatten(0, (4, 48))
    torch.testing.assert_close(memory.maps[0, 0], own[2])
    torch.testing.assert_close(memory.pos[0], levels.pos[0, 2 * 48 : 3 * 48])
