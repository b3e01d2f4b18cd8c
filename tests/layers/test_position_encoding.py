import math

import numpy as np
import pytest
import torch
from reference_cases import BLOCKS, ReferenceCase

from tubedet.layers import sine_encoding, sine_position_encoding_2d, sine_position_encoding_3d


def test_values_by_the_formula():
    mask = torch.zeros(1, 2, 3, 4, dtype=torch.bool)
    code = sine_position_encoding_3d(mask, 32)
    assert code.shape == (1, 32, 2, 3, 4) and code.dtype == torch.float32
    t, y, x = 1, 2, 0
    expected = []
    for count, total, channels in ((t + 1, 2, 8), (y + 1, 3, 12), (x + 1, 4, 12)):
        angle = count / (total + 1e-6) * 2 * math.pi
        for k in range(channels):
            phase = angle / 10000 ** (2 * (k // 2) / channels)
            expected.append(math.cos(phase) if k % 2 else math.sin(phase))
    torch.testing.assert_close(code[0, :, t, y, x], torch.tensor(expected), rtol=0, atol=1e-5)


def test_without_pairs_every_channel_has_its_own_frequency():
    """As in the released class-query models: i / n instead of 2 * (i // 2) / n."""
    code = sine_encoding(torch.tensor([1.3]), 4, paired=False)[0]
    expected = [
        math.sin(1.3),
        math.cos(1.3 / 10000 ** (1 / 4)),
        math.sin(1.3 / 10000 ** (2 / 4)),
        math.cos(1.3 / 10000 ** (3 / 4)),
    ]
    torch.testing.assert_close(code, torch.tensor(expected), rtol=0, atol=1e-6)
    mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    single = sine_position_encoding_3d(mask, 16, paired=False).flatten()
    last = sine_encoding(torch.tensor(2 * math.pi), 6, paired=False)
    torch.testing.assert_close(single[-6:], last, rtol=0, atol=1e-4)


def test_padding_does_not_change_the_valid_part():
    mask = torch.ones(1, 2, 5, 7, dtype=torch.bool)
    mask[..., :3, :4] = False
    padded = sine_position_encoding_3d(mask, 32)[..., :3, :4]
    alone = sine_position_encoding_3d(torch.zeros(1, 2, 3, 4, dtype=torch.bool), 32)
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-6)


def test_channels_that_cannot_be_split():
    with pytest.raises(ValueError, match="multiple of 16 channels, not 20"):
        sine_position_encoding_3d(torch.zeros(1, 1, 1, 1, dtype=torch.bool), 20)
    with pytest.raises(ValueError, match="multiple of 4 channels, not 30"):
        sine_position_encoding_2d(torch.zeros(1, 1, 1, dtype=torch.bool), 30)


def test_two_dimensional_code_equals_the_published():
    case = ReferenceCase(BLOCKS / "sine_position_encoding_2d")
    for level in range(2):
        mask = torch.from_numpy(case.outputs[f"in/mask{level}"])
        code = sine_position_encoding_2d(mask, 64)
        expected = case.outputs[f"out/pos{level}"]
        shown = np.broadcast_to(~mask.numpy()[:, None], expected.shape)
        np.testing.assert_allclose(code.numpy()[shown], expected[shown], rtol=0, atol=1e-5)


def test_three_dimensional_code_equals_the_published():
    case = ReferenceCase(BLOCKS / "sine_position_encoding_3d")
    mask = torch.from_numpy(case.outputs["in/mask"])
    expected = case.outputs["out/pos"]
    code = sine_position_encoding_3d(mask, expected.shape[1])
    shown = np.broadcast_to(~mask.numpy()[:, None], expected.shape)
    np.testing.assert_allclose(code.numpy()[shown], expected[shown], rtol=0, atol=1e-5)
