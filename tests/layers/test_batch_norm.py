import pytest
import torch
from torch import nn

from tubedet.layers import FrozenBatchNorm3d, get_norm_3d


def _trained_norm(channels):
    torch.manual_seed(0)
    norm = get_norm_3d("BN", channels)
    nn.init.uniform_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.train()(torch.randn(4, channels, 3, 5, 5) * 3 + 1)
    return norm.eval()


# T equal to C or 1 is where reshaping to four dimensions goes wrong unnoticed.
@pytest.mark.parametrize("frames", [1, 4, 6])
def test_frozen_equals_evaluation_mode(frames):
    norm = _trained_norm(4)
    frozen = FrozenBatchNorm3d.convert(norm)
    x = torch.randn(2, 4, frames, 3, 3)
    torch.testing.assert_close(frozen.train()(x), norm(x), rtol=0, atol=1e-5)
    assert frozen.eps == 1e-3
    assert not list(frozen.parameters())


def test_convert_reaches_nested_norms_and_keeps_keys():
    module = nn.Sequential(nn.Conv3d(3, 4, 1), nn.Sequential(_trained_norm(4)))
    before = module.state_dict()
    after = FrozenBatchNorm3d.convert(module).state_dict()
    assert set(before) - set(after) == {"1.0.num_batches_tracked"}
    assert all(torch.equal(after[key], before[key]) for key in after)


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
@pytest.mark.parametrize("place", [torch.float64, torch.bfloat16, torch.device("meta")], ids=str)
def test_convert_keeps_device_and_precision(norm, place):
    module = nn.Sequential(get_norm_3d(norm, 4)).to(place)
    before = module.state_dict()
    after = FrozenBatchNorm3d.convert(module).state_dict()
    assert len(after) == 4
    for key, value in after.items():
        assert (value.device, value.dtype) == (before[key].device, before[key].dtype)
        assert value is not before[key]


def test_group_norm_keeps_the_clips_of_a_batch_apart():
    norm = get_norm_3d("GN", 64, eps=1e-5)
    x = torch.randn(2, 64, 3, 4, 5)
    torch.testing.assert_close(norm(x)[:1], norm(x[:1]), rtol=0, atol=1e-6)
    groups = norm(x).unflatten(1, (32, 2)).flatten(2)
    torch.testing.assert_close(groups.mean(-1), torch.zeros(2, 32), rtol=0, atol=1e-5)
    torch.testing.assert_close(groups.var(-1, correction=0), torch.ones(2, 32), rtol=0, atol=1e-3)


def test_unknown_norm_is_named():
    with pytest.raises(
        ValueError, match="MODEL.CSN.NORM, MODEL.SLOWFAST.NORM or COLLAPSE_NORM is 'LN'"
    ):
        get_norm_3d("LN", 4)
