"""Deformable attention by kernels is that by operators, at full size."""

import copy

import pytest
import torch
from small_detectors import relative_difference

from tubedet.layers import MultiScaleDeformableAttention, MultiScaleDeformableAttention3d

pytestmark = pytest.mark.gpu

MAPS = [(64, 85), (32, 43), (16, 22), (8, 11)]
VIDEOS = [(8, 32, 43), (8, 16, 22), (4, 8, 11)]
# Class, sizes of the maps, numbers of a reference
CASES = {
    "points": (MultiScaleDeformableAttention, MAPS, 2),
    "boxes": (MultiScaleDeformableAttention, MAPS, 4),
    "video": (MultiScaleDeformableAttention3d, VIDEOS, 3),
}
# Half precision rounds the results of the projections, which both ways do alike.
MOST = {None: 1e-4, torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.mark.parametrize("num_queries", [15, 4000])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients(case, num_queries, amp_dtype, device):
    torch.manual_seed(0)
    kind, shapes, reference_dim = CASES[case]
    plain = kind(256, 8, len(shapes), 4).to(device)
    for linear in (plain.sampling_offsets, plain.attention_weights):
        torch.nn.init.normal_(linear.weight, std=0.05)
    by_kernels = copy.deepcopy(plain)
    by_kernels.triton = True
    cells = sum(torch.Size(shape).numel() for shape in shapes)
    query, memory = torch.randn(2, num_queries, 256), torch.randn(2, cells, 256)
    references = torch.rand(2, num_queries, len(shapes), reference_dim) * 1.2 - 0.1
    inputs = [x.to(device).requires_grad_() for x in (query, references, memory)]
    mask = torch.zeros(2, cells, dtype=torch.bool, device=device)
    mask[1, ::7] = True
    results, upstream = [], torch.randn(2, num_queries, 256).to(device)
    for attention in (by_kernels, plain):
        with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
            out = attention(*inputs, shapes, mask)
        wanted = [*inputs, *attention.parameters()]
        results.append([out, *torch.autograd.grad((out * upstream).sum(), wanted)])
    for found, expected in zip(*results):
        assert found.dtype == expected.dtype
        assert relative_difference(found.float(), expected.float().cpu()) < MOST[amp_dtype]
