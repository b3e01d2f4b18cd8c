import copy
from functools import partial

import pytest
import torch
from small_detectors import ARCHITECTURES, VIT_ARCHITECTURES, small_detector
from torch import nn

from tubedet.engine.freezing import freeze_parameters
from tubedet.layers import LayerNorm, MultiHeadAttention, PreciseLinear
from tubedet.modeling import CSN, half_weights
from tubedet.modeling.half_weights import HalfWeights


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


@pytest.mark.parametrize("name", ["TubeR", "D3", "SeqFormer", "SparseRCNN", *VIT_ARCHITECTURES])
def test_every_weight_of_an_architecture_but_those_of_norms_and_of_boxes(name):
    _, model = small_detector(name)
    boxes = [part for part in model.modules() if isinstance(part, PreciseLinear)]
    left_out = {id(p) for part in boxes for p in part.parameters()}
    convolutions = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d)
    wanted = {
        id(p)
        for part in model.modules()
        if isinstance(part, (nn.Linear, *convolutions, LayerNorm, MultiHeadAttention))
        for p in part.parameters(recurse=False)
    }
    found = [id(p) for p in HalfWeights(model).parameters()]
    assert boxes and len(found) == len(set(found)) and set(found) == wanted - left_out
    assert name in {**ARCHITECTURES, **VIT_ARCHITECTURES}


def test_double_precision_is_left_alone():
    model = _Model().double()
    assert HalfWeights(model).parameters() == []
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.equal(HalfWeights(model).call(torch.bfloat16, x), model(x))


@pytest.mark.parametrize("execution", ["modules", "fused", "checkpointed"])
@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_a_backbone_trains_as_under_autocast(norm, execution):
    """Also where the backward pass computes again what the forward pass has not kept."""
    torch.manual_seed(0)
    csn = CSN(depth=26, width_multiplier=0.5, norm=norm, execution=execution).train()
    twin, x = copy.deepcopy(csn), torch.randn(2, 3, 3, 24, 24)
    outputs = []
    for model, call in ((csn, partial(HalfWeights(csn).call, torch.bfloat16)), (twin, twin)):
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(call(x)["res5"])
        outputs[-1].float().square().mean().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(*outputs)
    for (name, p), expected in zip(csn.named_parameters(), twin.parameters()):
        assert torch.equal(p.grad, expected.grad), name


def test_weights_are_cast_in_few_groups(monkeypatch):
    monkeypatch.setattr(half_weights, "_GROUP_NUMBERS", 1000)
    _, model = small_detector("TubeR")
    parameters = HalfWeights(model).parameters()
    groups = list(half_weights._groups(parameters))
    assert [id(p) for group in groups for p in group] == [id(p) for p in parameters]
    sizes = [sum(p.numel() for p in group) for group in groups]
    assert len(groups) > 3 and min(sizes[:-1]) >= 1000


def test_stored_in_half_the_results_are_those_of_autocast():
    torch.manual_seed(0)
    model, x = _Model(), torch.randn(2, 3, 4)
    stored = copy.deepcopy(model)
    half_weights.store_in_half(stored, torch.bfloat16)
    assert stored.tied.weight is stored.first.weight
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(stored(x), model(x))
    precise = {name for name, dtype in stored.seen.items() if dtype == torch.float32}
    assert precise == {"precise.weight", "precise.bias"}


def test_what_is_frozen_stays_frozen_within():
    """Otherwise everything behind it would compute gradients that nobody wants."""
    _, model = small_detector("TubeR", opts=["MODEL.BACKBONE.FREEZE_AT", 2])
    freeze_parameters(model, ["backbone.*"])
    seen = {}

    def note(_, inputs, outputs):
        seen["map"] = outputs["res5"].requires_grad
        seen.update({name: p.requires_grad for name, p in model.named_parameters()})

    wanted = {"map": False, **{name: p.requires_grad for name, p in model.named_parameters()}}
    model.backbone.register_forward_hook(note)
    clips = [{"clip": torch.zeros(3, 8, 32, 32, dtype=torch.uint8)}]
    with torch.autocast("cpu", torch.bfloat16):
        HalfWeights(model.eval()).call(torch.bfloat16, clips)
    assert seen == wanted and any(wanted.values())
