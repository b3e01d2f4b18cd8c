import pytest
import torch

from tubedet.modeling.heads import ContextActionHead


def _head(context_steps, mask_context=True, repeat_equal_work=False):
    torch.manual_seed(0)
    return ContextActionHead(
        in_channels=8,
        dim=16,
        num_heads=2,
        feedforward_dim=32,
        num_outputs=5,
        dropout=0.0,
        action_dropout=0.0,
        action_prior=0.01,
        mask_context=mask_context,
        context_steps=context_steps,
        repeat_equal_work=repeat_equal_work,
    ).eval()


def test_the_context_keeps_its_time_steps_or_joins_them():
    queries, features = torch.randn(2, 1, 3, 16), torch.randn(1, 8, 4, 2, 3)
    mask = torch.zeros(1, 2, 3, dtype=torch.bool)
    seen = []
    for context_steps, steps in ((1, 4), (4, 1), (2, 3)):
        head = _head(context_steps)
        head.context_encoder.register_forward_hook(lambda _, x, y: seen.append(x[0].shape))
        with torch.no_grad():
            logits = head(queries, features, mask)
        assert logits.shape == (2, 1, 3, 5)
        assert seen[-1] == (1, 16, steps, 2, 3)


def test_a_joined_context_still_hides_padding():
    head = _head(4)
    queries, features = torch.randn(1, 1, 3, 16), torch.randn(1, 8, 4, 2, 3)
    padded = torch.nn.functional.pad(features, (0, 2), value=3.0)
    mask = torch.zeros(1, 2, 5, dtype=torch.bool)
    mask[..., 3:] = True
    with torch.no_grad():
        alone = head(queries, features, mask[..., :3])
        torch.testing.assert_close(head(queries, padded, mask), alone, rtol=0, atol=1e-5)
        head.mask_context = False
        assert (head(queries, padded, mask) - alone).abs().max() > 1e-3


@pytest.mark.parametrize("repeat_equal_work", [False, True])
def test_attention_is_where_and_when_queries_read(repeat_equal_work):
    """Without position codes, what lies elsewhere is read there, with the same weight."""
    head = _head(1, mask_context=True, repeat_equal_work=repeat_equal_work)
    queries, features = 5 * torch.randn(2, 3, 4, 16), torch.randn(3, 8, 4, 2, 5)
    mask = torch.zeros(3, 2, 5, dtype=torch.bool)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
        gathered, attention = head.gather(queries, features, mask, with_attention=True)
        torch.testing.assert_close(gathered, head.gather(queries, features, mask)[0])
        assert attention.shape == (2, 3, 4, 4, 2, 5)
        torch.testing.assert_close(attention.sum((-3, -2, -1)), torch.ones(2, 3, 4))
        assert attention.amax((-3, -2, -1)).min() > 2 / 40  # 1 / 40 is the same everywhere
        for axis in (-3, -2, -1):
            _, flipped = head.gather(queries, features.flip(axis), mask, with_attention=True)
            torch.testing.assert_close(flipped, attention.flip(axis))
        for given, place in ((queries[1:], slice(1, 2)), (queries[:1], slice(1))):
            _, alone = head.gather(given, features, mask, with_attention=True)
            torch.testing.assert_close(alone, attention[place])
        mask[2, :, 3:] = True
        _, masked = head.gather(queries, features, mask, with_attention=True)
    assert not masked[:, 2, ..., 3:].any()
    torch.testing.assert_close(masked.sum((-3, -2, -1)), torch.ones(2, 3, 4))
    torch.testing.assert_close(masked[:, :2], attention[:, :2])


@pytest.mark.parametrize("mask_context", [False, True])
def test_repeating_equal_work_changes_nothing(mask_context):
    torch.manual_seed(0)
    queries, features = torch.randn(3, 2, 5, 16), torch.randn(2, 8, 4, 2, 3)
    mask = torch.zeros(2, 2, 3, dtype=torch.bool)
    mask[1, :, 2] = True
    logits, seen = [], []
    for repeat in (False, True):
        head = _head(1, mask_context, repeat)
        head.context_encoder.register_forward_hook(lambda _, x, y: seen.append(len(x[0])))
        with torch.no_grad():
            logits.append(head(queries, features, mask))
    assert seen == [2, 3 * 2]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-5)
