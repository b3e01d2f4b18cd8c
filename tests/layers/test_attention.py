import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tubedet.layers import MultiHeadAttention, PlainAttention
from tubedet.layers import attention as attention_module


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


def test_a_bias_is_added_to_the_scores_and_gets_a_gradient():
    ours, theirs = _pair(16, 4)
    x = torch.randn(2, 3, 16, dtype=torch.float64)
    bias = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    found, (expected, _) = ours(x, x, x, bias=bias), theirs(x, x, x, attn_mask=bias.flatten(0, 1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(y.square().sum(), bias)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    assert gradients[0].abs().max() > 1e-3


def test_a_bias_is_not_rounded_under_autocast():
    attention, x = MultiHeadAttention(4, 1), torch.zeros(1, 2, 4)
    kept = []
    attention.dropout.register_forward_hook(lambda module, inputs, output: kept.append(output))
    bias = torch.tensor([0.0, 0.001]).expand(1, 1, 2, 2)  # 1.001 is 1 in bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(x, x, x, bias=bias)
    assert out.dtype == torch.bfloat16 and kept[0].dtype == torch.float32
    torch.testing.assert_close(kept[0], bias.softmax(-1))


@pytest.mark.parametrize("masked", [False, True])
def test_many_sequences_are_attended_to_in_parts(masked, monkeypatch):
    attention, _ = _pair(16, 4)
    q, k = (torch.randn(8, n, 16, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    mask = torch.arange(5).expand(8, 5) >= torch.arange(8)[:, None] + 1 if masked else None
    arguments = (q, k, *attention.parameters())

    def outputs_and_gradients():
        found = attention(q, k, k, mask)
        return [found, *torch.autograd.grad(found.square().sum(), arguments)]

    expected = outputs_and_gradients()
    sizes = []

    def attend(q, *arguments, original=F.scaled_dot_product_attention, **options):
        sizes.append(len(q))
        return original(q, *arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    monkeypatch.setattr(attention_module, "MAX_SEQUENCES", 3)
    for a, b in zip(outputs_and_gradients(), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert sizes == [3, 3, 2]


def test_the_largest_batch_of_cudnn_is_not_divided(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, k, v, *_, **__: sizes.append(len(q)) or v
    )
    attention = MultiHeadAttention(2, 1)
    for num_sequences in (65_535, 65_536):
        x = torch.zeros(num_sequences, 1, 2)
        assert attention(x, x, x).shape == x.shape
    assert sizes == [65_535, 65_535, 1]


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


def _shared_query_case(dropout=0.0):
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 4, dropout).double()
    nn.init.normal_(attention.in_proj_bias)
    nn.init.normal_(attention.out_proj.bias)
    query = torch.randn(16, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(7, 5, 16, dtype=torch.float64, requires_grad=True)
    return attention, query, memory


@pytest.mark.parametrize("num_keys", [1, 5])
def test_a_shared_query_gives_values_and_gradients_of_the_general_way(num_keys):
    attention, query, memory = _shared_query_case()
    keys = memory[:, :num_keys]
    shared = attention.from_shared_query(query, keys)
    general = attention(query.expand(7, 1, 16), keys, keys)[:, 0]
    torch.testing.assert_close(shared, general, rtol=0, atol=1e-12)
    arguments = (query, memory, *attention.parameters())
    upstream = torch.randn_like(shared)
    ours = torch.autograd.grad(shared, arguments, upstream)
    theirs = torch.autograd.grad(general, arguments, upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_dropout_of_a_shared_query_is_that_of_the_weights():
    attention, query, memory = _shared_query_case(dropout=0.5)
    memory = memory[:1].expand(40_000, 5, 16)
    with torch.no_grad():
        dropped = attention.from_shared_query(query, memory)
        general = attention(query.expand(40_000, 1, 16), memory, memory)[:, 0]
        kept = attention.eval().from_shared_query(query, memory[:1])
    assert dropped.shape == (40_000, 16) and dropped.std(0).min() > 0.01
    spread = dropped.std(0)
    # Means of 40000 draws are exact to 0.5 % of the spread, spreads to 0.4 %.
    assert ((dropped.mean(0) - kept[0]).abs() < 0.03 * spread).all()
    assert ((spread / general.std(0) - 1).abs() < 0.03).all()


@pytest.mark.parametrize("equal", ["all", "query and key", "key and value", "none"])
def test_equal_inputs_are_projected_by_one_product(equal):
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 4).double()
    nn.init.normal_(attention.in_proj_bias)
    x, y, z = torch.randn(3, 2, 5, 16, dtype=torch.float64)
    inputs = {
        "all": (x, x, x),
        "query and key": (x, x, y),
        "key and value": (x, y, y),
        "none": (x, y, z),
    }[equal]
    torch.testing.assert_close(attention(*inputs), attention(*(x.clone() for x in inputs)))


def test_weights_are_those_of_the_pytorch_module():
    torch.manual_seed(0)
    theirs, ours = torch.nn.MultiheadAttention(8, 2, batch_first=True), MultiHeadAttention(8, 2)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    query, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[1, 3:] = True
    for padding in (None, mask):
        _, expected = theirs(query, memory, memory, key_padding_mask=padding)
        torch.testing.assert_close(ours.weights(query, memory, padding), expected)
    assert not expected[1, :, 3:].any() and expected.std() > 0.1


def test_given_projections_of_another_width_are_attended_with():
    """Queries and keys of 2 · C channels; weights by the formula, mean over the heads."""
    torch.manual_seed(0)
    attention = PlainAttention(8, 2).double()
    query, key = torch.randn(3, 4, 16).double(), torch.randn(3, 5, 16).double()
    value = torch.randn(3, 5, 8).double()
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    heads, weights = [], []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / 8**0.5
        scores[1, :, 3:] = -torch.inf
        weights.append(scores.softmax(-1))
        heads.append(weights[-1] @ value[..., 4 * head : 4 * head + 4])
    expected = attention.out_proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention.attend(query, key, value, mask), expected)
    found = attention.mean_weights(query, key, mask)
    torch.testing.assert_close(found, ((weights[0] + weights[1]) / 2).detach())
    assert not attention.out_proj.bias.any()
