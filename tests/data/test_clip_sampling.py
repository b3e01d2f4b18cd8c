import numpy as np
import pytest

from tubedet.data.clip_sampling import (
    clip_times,
    display_limits,
    frame_indices,
    stored_times,
)


def test_ava_clip_has_the_key_frame_in_slot_16():
    times = clip_times(902, num_frames=32, frame_stride=2, fps=30)
    assert times.shape == (32,) and times.dtype == np.float64
    assert times[16] == 902.0
    np.testing.assert_allclose(np.diff(times), 2 / 30, atol=1e-12)
    assert times[0] == pytest.approx(902 - 32 / 30) and times[-1] == pytest.approx(903)


@pytest.mark.parametrize("num_frames", [1, 2, 7, 8])
def test_key_frame_slot_is_exact_for_any_length(num_frames):
    times = clip_times(1000.1, num_frames=num_frames, frame_stride=3, fps=29.97)
    assert len(times) == num_frames and times[num_frames // 2] == 1000.1


def test_second_902_of_ava_is_index_60():
    assert frame_indices([902.0], fps=30, start_second=900, num_stored=27030).tolist() == [60]
    assert frame_indices([1798.0], fps=30, start_second=900, num_stored=27030).tolist() == [26940]


def test_indices_are_those_of_slowfast():
    times = clip_times(902, num_frames=32, frame_stride=2, fps=30)
    indices = frame_indices(times, fps=30, start_second=900, num_stored=27030)
    assert indices.tolist() == list(range(60 - 32, 60 + 32, 2))


def test_indices_of_all_ava_key_frames_are_free_of_rounding_errors():
    for second in range(902, 1799):
        times = clip_times(second, num_frames=32, frame_stride=2, fps=30)
        indices = frame_indices(times, fps=30, start_second=900, num_stored=27030)
        centre = (second - 900) * 30
        assert indices.tolist() == list(range(centre - 32, centre + 32, 2))


def test_each_index_is_clamped_on_its_own():
    times = clip_times(900.2, num_frames=8, frame_stride=4, fps=30)
    indices = frame_indices(times, fps=30, start_second=900, num_stored=12)
    assert indices.tolist() == [0, 0, 0, 2, 6, 10, 11, 11]


def test_stored_rate_may_differ_from_the_sampling_rate():
    # What ffmpeg's filter fps=30 makes of 24 and 25 frames per second.
    times = np.arange(6) / 30
    assert frame_indices(times, fps=24, num_stored=9, tick=1 / 30).tolist() == [0, 1, 1, 2, 3, 4]
    times = np.arange(7) / 30
    assert frame_indices(times, fps=25, num_stored=9, tick=1 / 30).tolist() == [0, 1, 2, 2, 3, 4, 5]


def test_limits_stay_positive_for_very_high_rates():
    indices = frame_indices(np.arange(5) / 2000, fps=2000, num_stored=5)
    assert indices.tolist() == [0, 1, 2, 3, 4]
    assert (display_limits(np.zeros(1), tick=1 / 2000) > 0).all()


def test_stored_times_start_at_zero():
    assert stored_times([900.0, 902.5], start_second=900).tolist() == [0.0, 2.5]


@pytest.mark.parametrize("bad", [{"num_frames": 0}, {"frame_stride": 0}, {"fps": -1}])
def test_clip_times_refuses_nonsense(bad):
    with pytest.raises(ValueError, match="must be positive"):
        clip_times(902, **{"num_frames": 8, "frame_stride": 2, "fps": 30, **bad})


def test_clip_times_refuses_nan():
    with pytest.raises(ValueError, match="must be finite"):
        clip_times(float("nan"), num_frames=8, frame_stride=2, fps=30)


def test_frame_indices_refuses_an_empty_video():
    with pytest.raises(ValueError, match="num_stored"):
        frame_indices([0.0], fps=30, num_stored=0)
