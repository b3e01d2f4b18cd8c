import numpy as np
import pytest

from tubedet.inference.key_frame_clips import KeyFrameClips

CLIP = {"num_frames": 4, "frame_stride": 1, "fps": 10.0}


def cut(times, **part):
    """(key time, numbers of its frames, number of the key frame) of all clips of a video."""
    clips = KeyFrameClips(**{**CLIP, "every": 1.0, **part})
    found = []
    for number, time in enumerate(times):
        found += clips.add(time, np.full((1, 1, 3), number, np.int32), keep=number)
        if clips.is_complete:
            break
    found += clips.finish()
    return [(clip.time, clip.clip[:, 0, 0, 0].tolist(), clip.key_frame) for clip in found]


def test_clips_and_key_frames():
    assert cut(np.arange(22) / 10) == [
        (0, [0, 0, 0, 1], 0),
        (1, [8, 9, 10, 11], 10),
        (2, [18, 19, 20, 21], 20),
    ]
    assert cut([0.0]) == [(0, [0, 0, 0, 0], 0)]
    assert cut([]) == []


def test_a_shifted_clip_goes_with_the_key_frame_that_it_misses():
    clip = {"num_frames": 4, "frame_stride": 4, "frame_shift": 1}
    found = cut(np.arange(30) / 10, every=1.0, **clip)
    assert found[1] == (1, [3, 7, 11, 15], 10)
    assert found[0][1:] == ([0, 0, 1, 5], 0)


def test_the_key_frame_is_the_one_in_the_middle_slot():
    # At 4 frames a second a time shows the last frame that begins less than 0.05 s after it.
    for time, numbers, key_frame in cut(np.arange(20) / 4, every=0.3):
        assert numbers[2] == key_frame == int((time + 0.049 + 1e-9) * 4)


@pytest.mark.parametrize(
    "part, key_times",
    [
        ({"start": 1.0, "end": 3.0}, [1, 2]),
        ({"start": 1.05, "end": 3.05}, [2, 3]),
        ({"start": 0.3, "every": 0.1, "end": 0.7}, [0.3, 0.4, 0.5, 0.6]),
        ({"start": 2.3, "end": 2.8}, [2.3]),
        ({"start": 4.5}, [4.5]),
        ({"start": 4.95}, []),
        ({"end": 0.2}, [0]),
        ({"every": 4.9}, [0, 4.9]),
        ({"every": 5.0}, [0]),
    ],
)
def test_key_times_of_a_part(part, key_times):
    found = cut(np.arange(50) / 10, **part)
    assert [time for time, *_ in found] == pytest.approx(key_times)
    for time, numbers, key_frame in found:
        assert key_frame == round(time * 10)
        assert numbers == np.clip(key_frame + np.arange(-2, 2), 0, 49).tolist()


def test_rounded_time_stamps_count_as_exact():
    times = (np.arange(100) / 30).round(3)  # 0.033, 0.067, 0.1, ...
    assert [time for time, *_ in cut(times, every=1 / 30)] == pytest.approx(np.arange(100) / 30)


def test_multiples_without_a_neighbouring_frame_are_left_out():
    assert [time for time, *_ in cut([0.0, 7.5, 7.6, 20.0])] == [0, 1, 7, 8, 20]


def test_only_what_a_clip_needs_is_held():
    clips = KeyFrameClips(**CLIP, every=60.0, start=10.0, end=100.0)
    held = []
    for number in range(1200):
        clips.add(number / 10, np.zeros((1, 1, 3), np.uint8), keep=number)
        held.append((len(clips._window), len(clips._kept), len(clips._pending)))
    assert np.max(held, axis=0).tolist() <= [6, 3, 3]
    assert clips.is_complete and list(clips.finish()) == []


def test_the_first_needed_frame():
    assert KeyFrameClips(**CLIP, every=1.0, start=5.0).first_needed == pytest.approx(4.849)
    one = {**CLIP, "num_frames": 1}
    assert KeyFrameClips(**one, every=1.0, start=5.0).first_needed == 5.0


@pytest.mark.parametrize("every", [0.3, 1.0])
@pytest.mark.parametrize("part", [{}, {"start": 1.05, "end": 3.05}, {"start": 2.3, "end": 2.8}])
def test_of_a_much_higher_rate_only_frames_of_clips_are_held(monkeypatch, every, part):
    times = np.arange(4000) / 1000

    def run():
        clips = KeyFrameClips(**CLIP, every=every, **part)
        held, found = [0], []
        for number, time in enumerate(times):
            found += clips.add(time, np.full((1, 1, 3), number, np.int32), keep=number)
            if time > part.get("start", 0) + 0.5:
                held.append(len(clips._window))
        found += clips.finish()
        return [(c.time, c.clip[:, 0, 0, 0].tolist(), c.key_frame) for c in found], max(held)

    found, most = run()
    monkeypatch.setattr(KeyFrameClips, "_is_left_out", lambda *_: False)
    expected, most_of_all = run()
    assert found == expected and len(found) >= 1
    assert most <= 12 < most_of_all
