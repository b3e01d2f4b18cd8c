"""Attention of more sequences than cuDNN takes in one call."""

import pytest
import torch

from tubedet.layers import MultiHeadAttention

pytestmark = pytest.mark.gpu

NUM_SEQUENCES = 70_000


@pytest.mark.parametrize("masked", [False, True])
def test_every_sequence_is_attended_to(amp_dtype, masked, device):
    torch.manual_seed(0)
    attention = MultiHeadAttention(32, 4).to(device)
    x = torch.randn(NUM_SEQUENCES, 4, 32, device=device, requires_grad=True)
    mask = None
    if masked:
        mask = torch.arange(4, device=device) >= torch.randint(1, 5, (NUM_SEQUENCES, 1)).to(device)
    with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
        found = attention(x, x, x, mask)
    (gradient,) = torch.autograd.grad(found.float().square().sum(), x)
    # The first and last ones, alone and in float32.
    some = torch.tensor([*range(50), *range(65_510, 65_560), *range(69_950, 70_000)], device=device)
    few = x.detach()[some].requires_grad_()
    expected = attention(few, few, few, mask[some] if masked else None)
    (expected_gradient,) = torch.autograd.grad(expected.square().sum(), few)
    tolerance = {None: 1e-5, torch.bfloat16: 3e-2, torch.float16: 5e-3}[amp_dtype]
    for one, other in ((found[some], expected), (gradient[some], expected_gradient)):
        assert (one.float() - other).norm() < tolerance * other.norm()
