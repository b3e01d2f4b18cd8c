import pytest
import torch

from tubedet.modeling import TemporalPooling


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_simple_poolings(steps):
    x = torch.randn(2, 16, steps, 3, 5)
    assert torch.equal(TemporalPooling("none", 16)(x), x)
    for pooling, expected in {
        "avg": x.mean(2, keepdim=True),
        "max": x.max(2, keepdim=True).values,
        "center": x[:, :, steps // 2, None],
    }.items():
        assert torch.equal(TemporalPooling(pooling, 16)(x), expected)


def test_decode_pools_each_location_alone_and_ignores_the_order():
    torch.manual_seed(0)
    pool = TemporalPooling("decode", 16, num_heads=4).eval()
    x = torch.randn(2, 16, 4, 3, 5)
    with torch.no_grad():
        pooled = pool(x)
        assert pooled.shape == (2, 16, 1, 3, 5)
        alone = pool(x[1:, :, :, 2:, 4:])
        torch.testing.assert_close(alone[0, :, 0, 0, 0], pooled[1, :, 0, 2, 4], rtol=0, atol=1e-5)
        torch.testing.assert_close(pool(x.flip(2)), pooled, rtol=0, atol=1e-5)


def test_repeating_equal_work_changes_nothing():
    torch.manual_seed(0)
    results, seen = [], []
    x = torch.randn(2, 16, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    for repeat in (False, True):
        torch.manual_seed(1)
        pool = TemporalPooling("decode", 16, 4, dropout=0.0, repeat_equal_work=repeat).double()
        pool.layer.self_attn.register_forward_hook(lambda _, x, y: seen.append(len(x[0])))
        pooled = pool(x)
        results.append(
            (pooled, *torch.autograd.grad(pooled.square().sum(), [x, pool.query.weight]))
        )
    assert seen == [1, 2 * 3 * 5]
    for shared, repeated in zip(*results):
        torch.testing.assert_close(shared, repeated, rtol=0, atol=1e-11)


def test_unknown_pooling_is_an_error_and_not_the_centre():
    with pytest.raises(ValueError, match="TEMPORAL_POOLING is 'decoder'"):
        TemporalPooling("decoder", 16)
