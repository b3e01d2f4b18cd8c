import pytest
import torch
from torch import nn

from tubedet.layers import DepthwiseConv3d


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 2), (2, 1, 1)])
def test_training_path_equals_the_plain_convolution(stride, frames):
    torch.manual_seed(0)
    conv = DepthwiseConv3d(4, stride).double()
    x = torch.randn(2, 4, frames, 7, 6, dtype=torch.float64, requires_grad=True)
    ours, plain = conv(x), nn.Conv3d.forward(conv, x)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, (x, conv.weight), upstream),
        torch.autograd.grad(plain, (x, conv.weight), upstream),
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
