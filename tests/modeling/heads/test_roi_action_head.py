"""The head of given boxes: by hand, and as PySlowFast's."""

import pytest
import torch
from reference_cases import ROI_HEAD, ReferenceCase, assert_close

from tubedet.errors import UserError
from tubedet.modeling.heads import RoIActionHead


def _head(**changes):
    usual = {"channels": [1], "strides": [16], "num_actions": 1}
    return RoIActionHead(**{**usual, **changes})


def _ramp():
    """A map (1, 1, 1, 4, 6) whose cell at column x holds x."""
    return torch.arange(6.0).expand(1, 1, 1, 4, 6)


def _largest(head, box):
    regions = torch.tensor([[0.0, *box]])
    return [x.amax((2, 3)).item() for x in head.align(head.pool_time([_ramp()]), regions)][0]


def test_alignment_shifts_by_half_a_cell():
    """Columns 1.5 to 3.5 of the map in one bin: two samples, at 2 and 3, or half a cell before."""
    box = [24.0, 0.0, 56.0, 32.0]
    assert _largest(_head(resolution=1), box) == pytest.approx(2.5)
    assert _largest(_head(resolution=1, aligned=True), box) == pytest.approx(2.0)


def test_without_alignment_a_box_is_a_cell_wide_at_least():
    """From column 2: two bins of half a cell, whose samples are at 2.25 and 2.75."""
    box = [32.0, 0.0, 33.0, 32.0]
    assert _largest(_head(resolution=2), box) == pytest.approx(2.75)
    assert _largest(_head(resolution=2, aligned=True), box) < 1.6


def test_the_number_of_samples_follows_the_size_of_a_bin():
    """A square is averaged as finely as the map is: 4 samples of a bin, or 1."""
    maps = [_ramp().square()]
    regions = torch.tensor([[0.0, 0.0, 0.0, 64.0, 64.0]])
    found = [
        _head(resolution=1, sampling_ratio=ratio).align(_head().pool_time(maps), regions)[0].item()
        for ratio in (0, 1)
    ]
    assert found[0] == pytest.approx((0.5 + 2.5 + 6.5 + 12.5) / 4)
    assert found[1] == pytest.approx(4.0)


def test_time_is_averaged_before_and_space_maximised_after():
    maps = [torch.tensor([1.0, 5.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 4, 6)]
    assert _head().pool_time(maps)[0].unique().tolist() == [3.0]
    assert _head(temporal_pool="max").pool_time(maps)[0].unique().tolist() == [5.0]
    assert _head().pool_time([maps[0][:, :, 0]])[0].shape == (1, 1, 4, 6)
    assert _largest(_head(resolution=4), [0.0, 0.0, 64.0, 64.0]) == pytest.approx(3.5)


def test_channels_of_maps_are_joined_in_their_order():
    head = _head(channels=[1, 2], strides=[16, 8], num_actions=2)
    maps = [torch.full((1, 1, 1, 4, 6), 1.0), torch.full((1, 2, 3, 8, 12), 10.0)]
    with torch.no_grad():
        head.fc.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]]))
        logits = head(head.pool_time(maps), torch.tensor([[0.0, 0, 0, 64, 64]]))
    torch.testing.assert_close(logits, torch.tensor([[1.0, 20.0]]))


def test_the_first_columns_are_left_out():
    head = _head(num_actions=3, first_column=1)
    with torch.no_grad():
        head.fc.weight.zero_()
        head.fc.bias.copy_(torch.tensor([9.0, 1.0, 2.0, 3.0]))
        logits = head(head.pool_time([_ramp()]), torch.tensor([[0.0, 0, 0, 64, 64]]))
    assert logits.tolist() == [[1.0, 2.0, 3.0]]


def test_it_begins_with_almost_the_same_answer_for_all():
    torch.manual_seed(0)
    head = _head(channels=[64], num_actions=80)
    assert 0 < head.fc.weight.std() < 3e-5 and not head.fc.bias.any()
    prior = _head(action_prior=0.01).fc.bias.sigmoid()
    torch.testing.assert_close(prior, torch.tensor([0.01]))


def test_boxes_stay_float32_whatever_the_maps_are():
    """Half precision knows every eighth pixel at 2000: the box would miss its column."""
    wide = torch.arange(130.0).expand(1, 1, 1, 4, 130)
    regions = torch.tensor([[0.0, 1990.0, 0.0, 2006.0, 32.0]])
    head = _head(resolution=1, aligned=True)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = head.align(head.pool_time([wide.bfloat16()]), regions)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(1998 / 16 - 0.5, abs=0.6)
    (exact,) = head.align(head.pool_time([wide]), regions)
    assert exact.item() == pytest.approx(1998 / 16 - 0.5, abs=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"temporal_pool": "decode"}, "TEMPORAL_POOL is 'decode'; choose one of"),
        ({"resolution": 0}, "POOLER_RESOLUTION is 0; give at least 1"),
        ({"sampling_ratio": -1}, "POOLER_SAMPLING_RATIO is -1; give at least 0"),
        ({"first_column": -1}, "FIRST_COLUMN is -1"),
    ],
)
def test_wrong_settings_name_their_key(changes, message):
    with pytest.raises(UserError, match=f"MODEL.ROI_ACTION.{message}"):
        _head(**changes)


@pytest.mark.parametrize(
    "dtype, forward, backward", [("float64", 1e-6, 1e-6), ("float32", 1e-4, 1e-3)]
)
@pytest.mark.parametrize("run", ["slow_aligned", "slowfast_legacy"])
def test_scores_and_gradients_equal_pyslowfasts(run, dtype, forward, backward):
    case = ReferenceCase(ROI_HEAD / "slowfast_roi")
    config, dtype = case.meta["config"][run], getattr(torch, dtype)
    head = (
        _head(
            channels=config["dims"],
            strides=[16] * len(config["dims"]),
            num_actions=config["classes"],
            aligned=config["aligned"],
            dropout=0.5,
        )
        .to(dtype)
        .eval()
    )
    weights = case.state_dict()
    head.load_state_dict(
        {f"fc.{x}": weights[f"{run}.head.projection.{x}"] for x in ("weight", "bias")}
    )
    maps = [
        case.draw(f"in/{run}/{i}", shape).to(dtype).requires_grad_()
        for i, shape in enumerate(config["inputs"][1])
    ]
    scores = head(head.pool_time(maps), case.tensor(f"{run}/in/rois")).sigmoid()
    assert_close(scores, case.outputs[f"{run}/out/scores"], forward)
    scores.backward(case.draw(f"cotangent/{run}", scores.shape).to(dtype))
    gradients = {f"input{i}": x.grad for i, x in enumerate(maps)}
    gradients["projection_weight"] = head.fc.weight.grad
    for name, gradient in gradients.items():
        where = case.outputs[f"{run}/grad/{name}_idx"]
        expected = case.outputs[f"{run}/grad/{name}"]
        found = gradient.flatten()[torch.from_numpy(where).long()]
        assert (found - torch.from_numpy(expected)).abs().max() <= backward * abs(expected).max()
