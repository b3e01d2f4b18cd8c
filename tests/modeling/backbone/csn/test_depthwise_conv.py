import pytest
import torch
from torch import nn

from tubedet.modeling.backbone.csn.depthwise_conv import DepthwiseConv3d, depthwise_gradients


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


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 2), (2, 1, 1), (4, 1, 2)])
def test_gradients_equal_those_of_the_plain_convolution(stride, frames):
    torch.manual_seed(0)
    conv = DepthwiseConv3d(4, stride).double()
    x = torch.randn(2, 4, frames, 7, 6, dtype=torch.float64, requires_grad=True)
    plain = nn.Conv3d.forward(conv, x)
    upstream = torch.randn_like(plain)
    d_x, d_weight = torch.autograd.grad(plain, (x, conv.weight), upstream)
    grad, maps = (m.detach().permute(0, 2, 3, 4, 1).contiguous() for m in (upstream, x))
    before = grad.clone(), maps.clone()
    d_maps, d_kernel = depthwise_gradients(grad, maps, conv.weight.detach(), stride)
    torch.testing.assert_close(d_maps.permute(0, 4, 1, 2, 3), d_x, rtol=0, atol=1e-12)
    torch.testing.assert_close(d_kernel, d_weight, rtol=0, atol=1e-11)
    assert torch.equal(grad, before[0]) and torch.equal(maps, before[1])
