"""Deformable attention by kernels is that by operators, at full size."""

import copy

import pytest
import torch
from small_detectors import relative_difference

from tubedet.layers import MultiScaleDeformableAttention, MultiScaleDeformableAttention3d
from tubedet.layers.cuda import availability

pytestmark = pytest.mark.gpu

MAPS = [(64, 85), (32, 43), (16, 22), (8, 11)]
VIDEOS = [(8, 32, 43), (8, 16, 22), (4, 8, 11)]
# Class, sizes of the maps, numbers of a reference
CASES = {
    "points": (MultiScaleDeformableAttention, MAPS, 2),
    "boxes": (MultiScaleDeformableAttention, MAPS, 4),
    "video": (MultiScaleDeformableAttention3d, VIDEOS, 3),
}
# What outputs and gradients differ by. A place that is rounded to the other side of a cell's edge
# reads the same there, but the slope is another one; in float64 none is.
MOST = {
    torch.float64: (1e-8, 1e-8),
    torch.float32: (1e-4, 2e-2),
    torch.bfloat16: (2e-2, 5e-2),
    torch.float16: (3e-3, 2e-2),
}


@pytest.mark.parametrize("dtype", MOST, ids=str)
@pytest.mark.parametrize("num_queries", [15, 4000])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients(case, num_queries, dtype, device):
    if device.type == "cpu" and dtype == torch.float16:
        pytest.skip("float16 needs a GPU")
    torch.manual_seed(0)
    exact = torch.promote_types(dtype, torch.float32)
    kind, shapes, reference_dim = CASES[case]
    plain = kind(256, 8, len(shapes), 4).to(device, exact)
    for linear in (plain.sampling_offsets, plain.attention_weights):
        torch.nn.init.normal_(linear.weight, std=0.05)
    by_kernels = copy.deepcopy(plain)
    by_kernels.triton = True
    cells = sum(torch.Size(shape).numel() for shape in shapes)
    query, memory = torch.randn(2, num_queries, 256), torch.randn(2, cells, 256)
    references = torch.rand(2, num_queries, len(shapes), reference_dim) * 1.2 - 0.1
    inputs = [x.to(device, exact).requires_grad_() for x in (query, references, memory)]
    assert availability.runs_kernels(inputs[0]) == (device.type == "cuda")
    mask = torch.zeros(2, cells, dtype=torch.bool, device=device)
    mask[1, ::7] = True
    results, upstream = [], torch.randn(2, num_queries, 256).to(device, exact)
    for attention in (by_kernels, plain):
        half = dtype if dtype != exact else None
        with torch.autocast(device.type, half, enabled=half is not None):
            out = attention(*inputs, shapes, mask)
        wanted = [*inputs, *attention.parameters()]
        results.append([out, *torch.autograd.grad((out * upstream).sum(), wanted)])
    for index, (found, expected) in enumerate(zip(*results)):
        assert found.dtype == expected.dtype
        most = MOST[dtype][min(index, 1)]
        assert relative_difference(found, expected.double().cpu()) < most
