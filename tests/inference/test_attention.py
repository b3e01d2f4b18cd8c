"""Attention of persons in the coordinates of the frame."""

import numpy as np
import torch
from detectron2.structures import Instances

from tubedet.inference import attention_in_frame


def test_cells_are_spread_evenly_over_the_frame():
    attention = torch.zeros(2, 3, 2, 4)
    attention[1, 2, 0, 3] = 0.75
    attention[1, 2, 1, 0] = 0.25
    instances = Instances((40, 160), action_attention=attention)
    maps = attention_in_frame(instances, 2)
    assert maps.shape == (2, 40, 160) and maps.dtype == np.float32
    assert not maps[0].any() and not attention_in_frame(instances).any()
    # Outer halves of cells have the value of the cell.
    assert (maps[1, :10, 140:] == 0.75).all() and (maps[1, 30:, :20] == 0.25).all()
    assert (maps[1, :10, :100] == 0).all()
    np.testing.assert_allclose(maps[1, 5, 119:121], 0.375, atol=0.01)
    np.testing.assert_allclose(maps[1].sum() * 8 / (40 * 160), 1, rtol=1e-4)


def test_no_person_has_no_map():
    instances = Instances((6, 8), action_attention=torch.zeros(0, 1, 2, 4))
    assert attention_in_frame(instances).shape == (0, 6, 8)
