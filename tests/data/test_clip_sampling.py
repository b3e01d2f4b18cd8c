import numpy as np
import pytest

from tubedet.data.clip_sampling import (
    clip_offsets,
    clip_spacing,
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


@pytest.mark.parametrize(
    "clip, expected",
    [
        # TubeR, STMixer: slot T // 2 is the key frame.
        ({"num_frames": 8, "frame_stride": 4}, [-16, -12, -8, -4, 0, 4, 8, 12]),
        ({"num_frames": 16, "frame_stride": 4}, list(range(-32, 29, 4))),
        # VideoMAE-Action-Detection: the key frame itself is not sampled.
        ({"num_frames": 16, "frame_stride": 4, "frame_shift": 1}, list(range(-31, 30, 4))),
        # UMT, sparse: frames 121, 129 ... 177 of 300.
        ({"num_frames": 8, "frame_stride": 8, "frame_shift": 3}, list(range(-29, 28, 8))),
        # UMT, even ticks: frames 18, 56, 93, 131, 168, 206, 243 and 281 of 300.
        ({"num_frames": 8, "frame_stride": 8, "span": 300}, [-132, -94, -57, -19, 18, 56, 93, 131]),
        ({"num_frames": 8, "frame_stride": 1, "span": 64}, list(range(-28, 29, 8))),
        ({"num_frames": 3, "frame_stride": 1, "span": 3}, [-1, 0, 1]),
        ({"num_frames": 3, "frame_stride": 1, "span": 9, "frame_shift": -1}, [-4, -1, 2]),
    ],
)
def test_published_offsets_from_the_key_frame(clip, expected):
    stride, shift = clip_spacing(**clip)
    offsets = clip_offsets(clip["num_frames"], frame_stride=stride, frame_shift=shift)
    assert offsets.dtype == np.int64 and offsets.tolist() == expected
    spacing = {"num_frames": clip["num_frames"], "frame_stride": stride, "frame_shift": shift}
    times = clip_times(902, **spacing, fps=25)
    np.testing.assert_allclose(times, 902 + np.array(expected) / 25, rtol=0, atol=1e-9)
    indices = frame_indices(times, fps=25, start_second=900, num_stored=300)
    assert indices.tolist() == [min(max(50 + offset, 0), 299) for offset in expected]


def test_spans_are_cut_in_equal_shares_without_rounding_errors():
    for num_frames in range(1, 65):
        for span in range(num_frames, 4 * num_frames):
            stride, shift = clip_spacing(num_frames=num_frames, frame_stride=1, span=span)
            offsets = clip_offsets(num_frames, frame_stride=stride, frame_shift=shift)
            ticks = [(2 * slot + 1) * span // (2 * num_frames) for slot in range(num_frames)]
            assert (offsets + span // 2).tolist() == ticks


@pytest.mark.parametrize("bad", [{"frame_stride": 0}, {"frame_shift": float("nan")}])
def test_offsets_refuse_nonsense(bad):
    with pytest.raises(ValueError, match="must be positive and frame_shift finite"):
        clip_offsets(8, **{"frame_stride": 2, **bad})
