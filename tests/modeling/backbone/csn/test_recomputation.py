"""Checkpointed parts of a CSN: as without, but with less kept."""

import copy

import pytest
import torch
from torch import nn

from tubedet.modeling.backbone.csn.recomputation import recomputed


def _part(norm=None):
    torch.manual_seed(0)
    norms = nn.BatchNorm3d(5), norm or nn.BatchNorm3d(4)
    layers = nn.Conv3d(3, 5, 3), norms[0], nn.ReLU(), nn.Conv3d(5, 4, 1), norms[1]
    return nn.Sequential(*layers).double()


def _clip():
    return torch.randn(2, 3, 4, 6, 5, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_and_statistics_are_those_of_one_pass(training):
    part = _part().train(training)
    twin = copy.deepcopy(part)
    x = _clip()
    out, expected = recomputed(part, part, x), twin(x)
    upstream = torch.randn_like(out)
    assert torch.equal(out, expected)
    ours = torch.autograd.grad(out, (x, *part.parameters()), upstream)
    theirs = torch.autograd.grad(expected, (x, *twin.parameters()), upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    state, expected = part.state_dict(), twin.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_statistics_are_updated_once_in_each_step():
    part = _part().train()
    for step in range(1, 3):
        before = int(part[1].num_batches_tracked)
        recomputed(part, part, _clip()).sum().backward()
        assert int(part[1].num_batches_tracked) == before + 1 == step
        assert part[1].track_running_stats and part[4].track_running_stats


def test_norms_track_again_after_an_error_in_the_backward_pass():
    part = _part().train()
    calls = []

    def fails_the_second_time(x):
        calls.append(x)
        if len(calls) == 2:
            raise RuntimeError("no more")
        return part(x)

    out = recomputed(part, fails_the_second_time, _clip())
    with pytest.raises(RuntimeError, match="no more"):
        out.sum().backward()
    assert part[1].track_running_stats and part[4].track_running_stats


def test_norms_that_never_track_stay_so():
    part = _part(norm=nn.BatchNorm3d(4, track_running_stats=False)).train()
    recomputed(part, part, _clip()).sum().backward()
    assert part[1].track_running_stats and not part[4].track_running_stats


def test_only_the_input_is_kept():
    part = _part().train()
    sizes = []

    def pack(x):
        if x.numel():  # PyTorch before 2.12 keeps an empty tensor too
            sizes.append(tuple(x.shape))
        return x

    x = _clip()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        recomputed(part, part, x)
    assert sizes == [x.shape]
