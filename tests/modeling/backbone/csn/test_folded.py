"""The folded parts of a CSN against its modules, on both of their ways."""

import pytest
import torch
from random_norms import with_random_norms

from tubedet.layers import FrozenBatchNorm3d
from tubedet.modeling import CSN, prepare_for_inference
from tubedet.modeling.backbone.csn import folded as folded_csn
from tubedet.modeling.backbone.csn.csn import STAGES, Bottleneck, Stem

EXACT = {"rtol": 0, "atol": 1e-11}
# stride, projection, (T, H, W)
BLOCKS = [
    ((1, 1, 1), False, (5, 7, 6)),
    ((1, 1, 1), False, (1, 3, 4)),
    ((1, 1, 1), True, (2, 5, 5)),
    ((1, 2, 2), True, (3, 7, 6)),
    ((2, 1, 1), True, (4, 3, 6)),
    ((2, 2, 2), True, (7, 7, 9)),
    ((2, 2, 2), True, (1, 6, 5)),
    ((4, 1, 1), True, (9, 3, 3)),
]
# Output numbers worked on at a time: those of one frame, of a few and of the whole clip.
CHUNKS = [1, 2500, 1 << 20]


def _block(stride, project, norm="BN"):
    torch.manual_seed(0)
    block = Bottleneck(24 if project else 32, 8, stride, project, norm)
    return with_random_norms(block).double().eval()


def _map(channels, size):
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last_3d)


def _small_csn(**arguments):
    torch.manual_seed(0)
    csn = CSN(depth=26, width_multiplier=0.125, out_features=STAGES, **arguments)
    return with_random_norms(csn).double().eval()


@pytest.mark.parametrize("norm", ["BN", "FrozenBN", "SyncBN"])
def test_folding_is_exact(norm):
    stem = with_random_norms(Stem(8, norm)).double().eval()
    x = torch.randn(1, 3, 3, 21, 18, dtype=torch.float64)
    torch.testing.assert_close(stem.for_inference()(x), stem.by_modules(x), **EXACT)
    block = _block((1, 1, 1), False, norm)
    x = _map(32, (3, 5, 4))
    expected = block.by_modules(x)
    torch.testing.assert_close(block.for_inference()(x), expected, **EXACT)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("stride, project, size", BLOCKS)
def test_both_ways_of_a_block_equal_its_modules(monkeypatch, stride, project, size, chunk):
    monkeypatch.setattr(folded_csn, "_CHUNK_NUMBERS", chunk)
    block = _block(stride, project)
    folded = block.for_inference()
    x = _map(24 if project else 32, size)
    with torch.no_grad():
        expected = block.by_modules(x)
        torch.testing.assert_close(folded._by_convolutions(x.clone()), expected, **EXACT)
        torch.testing.assert_close(folded._by_products(x.clone()), expected, **EXACT)
        torch.testing.assert_close(folded(x.clone().contiguous()), expected, **EXACT)


def test_a_block_overwrites_its_input_only_without_a_projection():
    for project in (False, True):
        folded = _block((1, 1, 1), project).for_inference()
        x = _map(24 if project else 32, (3, 5, 4))
        before = x.clone()
        out = folded(x)
        assert (out.data_ptr() == x.data_ptr()) == (not project)
        assert torch.equal(x, before) == project


@pytest.mark.parametrize("size", [(1, 9, 8), (5, 33, 46), (8, 34, 31)])
def test_stem_equals_its_modules(size):
    torch.manual_seed(0)
    stem = with_random_norms(Stem(8, "BN")).double().eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    before = x.clone()
    out = stem.for_inference()(x)
    torch.testing.assert_close(out, stem.by_modules(x), **EXACT)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(x, before)


def test_returned_stages_are_not_overwritten():
    csn = _small_csn()
    x = torch.randn(2, 3, 5, 41, 38, dtype=torch.float64)
    before = x.clone()
    with torch.no_grad():
        features, expected = prepare_for_inference(csn)(x), csn(x)
    assert list(features) == list(STAGES)
    for name in STAGES:
        torch.testing.assert_close(features[name], expected[name], rtol=0, atol=1e-10)
    assert torch.equal(x, before)
    assert len({features[name].data_ptr() for name in STAGES}) == 4


def test_the_way_of_gpus_equals_that_of_cpus(monkeypatch):
    csn = _small_csn(temporal_strides=(2, 2, 1, 1))
    prepared = prepare_for_inference(csn)
    x = torch.randn(2, 3, 7, 35, 44, dtype=torch.float64)
    with torch.no_grad():
        by_products = prepared(x)
        monkeypatch.setattr(folded_csn, "_by_frames", lambda x: False)
        by_convolutions = prepared(x)
    for name in STAGES:
        torch.testing.assert_close(by_convolutions[name], by_products[name], rtol=0, atol=1e-10)


def test_autocast_takes_the_convolutions():
    csn = _small_csn().float()
    prepared = prepare_for_inference(csn)
    x = torch.randn(1, 3, 3, 24, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, expected = prepared(x)["res5"], csn(x)["res5"]
    assert features.dtype == torch.bfloat16
    scale = expected.float().abs().mean().item()
    assert (features.float() - expected.float()).abs().mean() < 0.05 * scale


def test_small_variances_keep_their_digits():
    block = _block((1, 1, 1), False).float()
    block.norm3.running_var.fill_(1e-7)
    block.norm3.eps = 1e-9
    weight, bias = folded_csn.folded(block.conv3, block.norm3)
    conv, norm = block.conv3.double(), block.norm3.double()
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    exact = conv.weight * scale.view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(weight.double(), exact, rtol=1e-7, atol=0)
    torch.testing.assert_close(
        bias.double(), norm.bias - norm.running_mean * scale, rtol=1e-7, atol=0
    )


def test_group_norms_are_not_foldable():
    assert folded_csn.is_foldable(FrozenBatchNorm3d(4))
    assert not folded_csn.is_foldable(torch.nn.GroupNorm(2, 4))
    block = Bottleneck(128, 32, (1, 1, 1), False, "GN")
    assert block.for_inference() is block
