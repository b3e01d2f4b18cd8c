import pytest
import torch

from tubedet.modeling.backbone import StepPooling


def _impulse(num_steps, at):
    x = torch.zeros(1, 2, num_steps, 3, 4)
    x[:, :, at] = 1
    return x


@pytest.mark.parametrize("num_steps", [8, 16])
def test_the_key_frame_stays_in_the_middle(num_steps):
    """Equal maps before and after the key frame's step: equal steps around T' // 2."""
    ratio = num_steps // 4
    steps = torch.arange(num_steps).sub(num_steps // 2).abs().float()
    pooled = StepPooling(4)(steps.view(1, 1, -1, 1, 1)).flatten()
    assert pooled[1] == pooled[3] and pooled[2] < pooled[1]
    assert pooled[1].item() == ratio
    at_key = StepPooling(4)(_impulse(num_steps, num_steps // 2))[0, 0, :, 0, 0]
    assert at_key.tolist() == [0, 0, pytest.approx(1 / (ratio + 1)), 0]


def test_windows_overlap_by_one_step_and_end_at_the_borders():
    pool = StepPooling(4)
    between = pool(_impulse(16, 6))[0, 1, :, 2, 3]
    torch.testing.assert_close(between, torch.tensor([0, 0.2, 0.2, 0]))
    first = pool(_impulse(16, 0))[0, 1, :, 2, 3]
    torch.testing.assert_close(first, torch.tensor([1 / 3, 0, 0, 0]))
    odd = StepPooling(2)(torch.arange(6.0).view(1, 1, 6, 1, 1)).flatten()
    assert odd.tolist() == [0.5, 3.0]


def test_equal_numbers_of_steps_are_left_alone():
    x = torch.randn(2, 3, 4, 5, 6)
    assert StepPooling(4)(x) is x


def test_steps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="6 time steps.*MODEL.SEQFORMER.NUM_STEPS 4"):
        StepPooling(4)(torch.zeros(1, 1, 6, 2, 2))
    with pytest.raises(ValueError, match="MODEL.SEQFORMER.NUM_STEPS is 0"):
        StepPooling(0)
