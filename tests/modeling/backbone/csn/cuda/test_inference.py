"""The prepared parts of a CSN by kernels against its modules."""

import pytest
import torch
from random_norms import with_random_norms

pytest.importorskip("triton")
from tubedet.layers.cuda import availability
from tubedet.modeling import CSN, prepare_for_inference
from tubedet.modeling.backbone.csn.csn import STAGES, Bottleneck, Stem
from tubedet.modeling.backbone.csn.cuda.inference import KernelBottleneck, KernelStem

EXACT = {"rtol": 0, "atol": 1e-11}
# stride, projection, (T, H, W)
BLOCKS = [
    ((1, 1, 1), False, (3, 4, 3)),
    ((1, 1, 1), True, (2, 3, 3)),
    ((2, 2, 2), True, (3, 5, 4)),
]


def _clip(*size, device, dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(*size, dtype=torch.float64).to(device, dtype)


@pytest.mark.parametrize("stride, project, size", BLOCKS)
def test_blocks_equal_their_modules(stride, project, size, kernel_device):
    torch.manual_seed(0)
    block = Bottleneck(24 if project else 32, 8, stride, project, "BN", triton=True)
    block = with_random_norms(block).double().eval().to(kernel_device)
    x = _clip(2, 24 if project else 32, *size, device=kernel_device)
    before = x.clone()
    prepared = block.for_inference()
    assert isinstance(prepared, KernelBottleneck)
    with torch.no_grad():
        out = prepared(x)
        torch.testing.assert_close(out, block.by_modules(x), **EXACT)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(x, before)


def test_stem_equals_its_modules(kernel_device):
    torch.manual_seed(0)
    stem = with_random_norms(Stem(8, "BN", triton=True)).double().eval().to(kernel_device)
    x = _clip(2, 3, 3, 21, 18, device=kernel_device)
    prepared = stem.for_inference()
    assert isinstance(prepared, KernelStem)
    with torch.no_grad():
        torch.testing.assert_close(prepared(x), stem.by_modules(x), **EXACT)


def _small_csn(device):
    torch.manual_seed(0)
    csn = CSN(depth=26, width_multiplier=0.125, out_features=STAGES, triton=True)
    return with_random_norms(csn).eval().to(device)


# Triton's interpreter multiplies no bfloat16 matrices.
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_whole_backbone(dtype, kernel_device):
    csn = _small_csn(kernel_device)
    x = _clip(1, 3, 3, 24, 24, device=kernel_device, dtype=torch.float32)
    exact = csn.double()(x.double())
    prepared = prepare_for_inference(csn.float())
    with torch.no_grad(), torch.autocast(kernel_device, dtype, enabled=dtype is not None):
        features = prepared(x)
        prepared(x)  # with the weights that were cast before
    for name in STAGES:
        assert features[name].dtype == (dtype or torch.float32)
        error = (features[name].double() - exact[name]).norm() / exact[name].norm()
        assert error < (5e-3 if dtype else 1e-5), name


def test_where_kernels_do_not_run_convolutions_do(monkeypatch):
    csn = _small_csn("cpu")
    monkeypatch.setattr(availability, "runs_kernels", lambda x: True)
    prepared = prepare_for_inference(csn)
    assert type(prepared.stem).__name__ == "KernelStem"
    monkeypatch.setattr(availability, "runs_kernels", lambda x: False)  # as when it has moved
    x = _clip(1, 3, 3, 24, 24, device="cpu", dtype=torch.float32)
    with torch.no_grad():
        features, expected = prepared(x), csn(x)
    torch.testing.assert_close(features["res5"], expected["res5"], rtol=1e-4, atol=1e-4)


def test_without_triton_the_parts_are_those_of_cpus(monkeypatch):
    monkeypatch.setattr(availability, "has_triton", lambda: False)
    assert type(Stem(8, "BN", triton=True).for_inference()).__name__ == "FoldedStem"
    assert not availability.runs_kernels(torch.empty(1, device="meta"))


@pytest.mark.parametrize("prepares", [False, True])
def test_what_is_not_a_number_is_not_hidden(prepares, kernel_device):
    torch.manual_seed(0)
    block = Bottleneck(32, 8, (1, 1, 1), False, "BN", "fused", triton=True).to(kernel_device)
    stem = Stem(8, "BN", "fused", triton=True).to(kernel_device)
    for part, size in ((block, (1, 32, 2, 3, 3)), (stem, (1, 3, 2, 9, 9))):
        x = _clip(*size, device=kernel_device, dtype=torch.float32)
        for conv, _ in part.convolutions():
            clean = conv.weight.detach().clone()
            conv.weight.data.view(-1)[0] = float("nan")
            part.train(not prepares)
            out = part.for_inference()(x) if prepares else part(x)
            with torch.no_grad():
                expected = part.eval().by_modules(x) if prepares else part.by_modules(x)
            assert expected.isnan().any() and out.isnan()[expected.isnan()].all()
            conv.weight.data.copy_(clean)
            for norm in part.modules():
                if isinstance(norm, torch.nn.BatchNorm3d):
                    norm.reset_running_stats()


def test_weights_that_were_cast_stay(kernel_device):
    csn = _small_csn(kernel_device)
    prepared = prepare_for_inference(csn)
    x = _clip(1, 3, 2, 16, 16, device=kernel_device, dtype=torch.float32)
    with torch.no_grad():
        with torch.autocast(kernel_device, torch.float16):
            prepared(x)
        first = prepared.res5[1]._cast[torch.float16, x.device]["taps"]
        prepared(x)
    assert prepared.res5[1]._cast[torch.float16, x.device]["taps"] is first
