import pytest
import torch
from torch import nn

from tubedet.layers import MultiHeadAttention


def _pair(dim, heads):
    torch.manual_seed(0)
    ours = MultiHeadAttention(dim, heads).double()
    theirs = nn.MultiheadAttention(dim, heads, batch_first=True).double()
    nn.init.normal_(ours.in_proj_bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("masked", [False, True])
def test_equals_pytorchs_module(masked):
    ours, theirs = _pair(16, 4)
    q, k, v = (torch.randn(2, n, 16, dtype=torch.float64) for n in (3, 5, 5))
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2]) if masked else None
    expected, _ = theirs(q, k, v, key_padding_mask=mask)
    torch.testing.assert_close(ours(q, k, v, mask), expected, rtol=0, atol=1e-12)


def test_dropout_follows_the_dropout_module():
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 4, dropout=0.5)
    x = torch.randn(1, 6, 16)
    assert not torch.equal(attention(x, x, x), attention(x, x, x))
    attention.dropout.eval()
    assert torch.equal(attention(x, x, x), attention(x, x, x))


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="3 attention heads do not divide 16"):
        MultiHeadAttention(16, 3)
