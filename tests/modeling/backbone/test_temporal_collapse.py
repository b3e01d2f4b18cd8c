import pytest
import torch
from torch import nn

from tubedet.modeling.backbone import TemporalCollapse


def _kernels(num_steps):
    return [
        [block[0].kernel_size[0] for block in level]
        for level in TemporalCollapse(8, num_steps, "BN")
    ]


def test_kernels_are_the_published_ones():
    assert _kernels([16, 8, 4, 4]) == [[9, 5, 4], [5, 4], [4], [4]]  # T = 32
    assert _kernels([8, 4, 2, 2]) == [[5, 3, 2], [3, 2], [2], [2]]  # T = 16
    assert _kernels([4, 2, 1, 1]) == [[3, 2, 1], [2, 1], [1], [1]]  # T = 8
    assert _kernels([12, 6, 3, 3]) == [[7, 4, 3], [4, 3], [3], [3]]  # T = 24
    assert _kernels([4, 4]) == [[4], [4]]  # no temporal strides


def test_one_step_is_left_of_every_level():
    torch.manual_seed(0)
    collapse = TemporalCollapse(64, [8, 4, 4], "GN").eval()
    levels = [torch.randn(2, steps, 64, 3, 5) for steps in (8, 4, 4)]
    with torch.no_grad():
        collapsed = collapse(levels)
        assert [tuple(x.shape) for x in collapsed] == [(2, 64, 3, 5)] * 3
        alone = collapse([x[1:] for x in levels])
    for a, b in zip(collapsed, alone):
        torch.testing.assert_close(a[1:], b, rtol=0, atol=1e-5)


def test_last_convolution_is_a_weighted_sum_over_time_and_nothing_is_cut_off():
    collapse = TemporalCollapse(2, [3], "BN").eval()
    conv, norm = collapse[0][0]
    nn.init.normal_(conv.bias)
    x = torch.randn(1, 3, 2, 1, 1)
    with torch.no_grad():
        expected = torch.einsum("oik,ki->o", conv.weight[..., 0, 0], x[0, :, :, 0, 0]) + conv.bias
        torch.testing.assert_close(
            collapse([x])[0][0, :, 0, 0], expected / (1 + 1e-5) ** 0.5, rtol=0, atol=1e-6
        )
    assert norm.eps == 1e-5


def test_unsuitable_numbers_of_frames_are_named():
    for num_steps in ([6, 3, 2], [12, 4], [5, 4]):
        with pytest.raises(ValueError, match="another INPUT.CLIP.NUM_FRAMES"):
            TemporalCollapse(8, num_steps, "BN")
    collapse = TemporalCollapse(8, [4, 2], "BN")
    with pytest.raises(ValueError, match=r"levels of \(8, 4\) time steps.*built for \(4, 2\)"):
        collapse([torch.randn(1, 8, 8, 2, 2), torch.randn(1, 4, 8, 2, 2)])
