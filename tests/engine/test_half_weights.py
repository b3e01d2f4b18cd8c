import pytest
import torch
from small_detectors import ARCHITECTURES, small_detector
from torch import nn

from tubedet.engine.half_weights import HalfWeights
from tubedet.layers import LayerNorm, MultiHeadAttention, PreciseLinear
from tubedet.modeling import CSN


class _Model(nn.Module):
    """Two layers that share their weights, one that stays precise, and one that is frozen."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.tied = self.first
        self.norm = LayerNorm(4)
        self.attention = MultiHeadAttention(4, 2)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(4, 4)
        self.precise = PreciseLinear(4, 2)
        self.seen = {}

    def forward(self, x):
        self.seen = {name: p.dtype for name, p in self.named_parameters()}
        self.seen["tied.weight"] = self.tied.weight.dtype
        x = self.norm(self.tied(self.first(x)))
        return self.precise(self.frozen(self.attention(x, x, x)))


def test_copies_stand_in_for_the_weights_of_one_call_only():
    model = _Model()
    before = dict(model.named_parameters())
    with torch.autocast("cpu", torch.bfloat16):
        y = HalfWeights(model).call(torch.bfloat16, torch.randn(2, 3, 4))
    precise = {name for name, dtype in model.seen.items() if dtype == torch.float32}
    assert y.dtype == torch.float32 and precise == {"precise.weight", "precise.bias"}
    assert all(p is before[name] and p.dtype == torch.float32 for name, p in before.items())


def test_results_and_gradients_are_those_of_autocast():
    torch.manual_seed(0)
    model, x = _Model(), torch.randn(2, 3, 4)
    results = []
    for call in (lambda x: HalfWeights(model).call(torch.bfloat16, x), model):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = call(x)
        y.square().sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append((y, gradients))
    (y, found), (expected, gradients) = results
    assert torch.equal(y, expected)
    assert found.keys() == gradients.keys() and "unused.weight" not in found
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, gradients[name], rtol=2e-2, atol=2e-2)


def test_weights_come_back_when_the_model_fails():
    model = _Model()
    weight = model.first.weight
    with pytest.raises(RuntimeError):
        HalfWeights(model).call(torch.bfloat16, torch.randn(2, 3, 5))
    assert model.first.weight is weight


@pytest.mark.parametrize("name", ["TubeR", "D3", "SeqFormer", "SparseRCNN"])
def test_every_weight_of_an_architecture_but_those_of_the_csn_and_of_boxes(name):
    _, model = small_detector(name)
    csn = next(part for part in model.modules() if isinstance(part, CSN))
    boxes = [part for part in model.modules() if isinstance(part, PreciseLinear)]
    left_out = {id(p) for part in (csn, *boxes) for p in part.parameters()}
    wanted = {
        id(p)
        for part in model.modules()
        if isinstance(part, (nn.Linear, nn.Conv2d, nn.Conv3d, LayerNorm, MultiHeadAttention))
        for p in part.parameters(recurse=False)
    }
    found = [id(p) for p in HalfWeights(model).parameters()]
    assert boxes and len(found) == len(set(found)) and set(found) == wanted - left_out
    assert name in ARCHITECTURES


def test_double_precision_is_left_alone():
    model = _Model().double()
    assert HalfWeights(model).parameters() == []
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.equal(HalfWeights(model).call(torch.bfloat16, x), model(x))
