import numpy as np
import pytest
from numbered_videos import read_numbers, write_video

from tubedet.data.clip_sampling import clip_times, display_limits
from tubedet.data.video.video_file import VideoFileReader
from tubedet.inference.clip_window import ClipWindow

CLIP = {"num_frames": 8, "frame_stride": 2, "fps": 30.0}


def streamed_clips(path, key_times, clip=CLIP):
    """Clips of ascending key times from one pass over a video, and the most frames kept."""
    window, wanted, clips, most = ClipWindow(**clip), list(key_times), [], 0
    with VideoFileReader(path) as reader:
        for time, frame in reader:
            while wanted and not window.needs(time, key_time=wanted[0]):
                clips.append(window.clip(wanted.pop(0)))
            if wanted:
                window.forget_before(wanted[0])
            window.append(time, frame)
            most = max(most, len(window))
    return clips + [window.clip(key_time) for key_time in wanted], most


@pytest.mark.parametrize("rate", [10, 15, 24, 30000 / 1001, 60, 120])
@pytest.mark.parametrize("file_name", ["film.mp4", "film.mkv", "starts_at_1.4_s.ts"])
def test_clips_are_those_of_random_access(tmp_path, file_name, rate):
    path = write_video(tmp_path / file_name, 90, rate=rate, b_frames=2)
    key_times = np.arange(0, 90 / rate, 0.25)
    clips, _ = streamed_clips(path, key_times)
    with VideoFileReader(path) as reader:
        for key_time, clip in zip(key_times, clips):
            read = reader.read(clip_times(key_time, **CLIP), tick=1 / CLIP["fps"])
            assert read_numbers(clip) == read_numbers(read)


@pytest.mark.parametrize(
    "clip",
    [
        {"num_frames": 16, "frame_stride": 4, "frame_shift": 1, "fps": 25.0},
        {"num_frames": 8, "frame_stride": 37.5, "frame_shift": 18.75, "fps": 25.0},
    ],
)
def test_clips_of_other_spans_are_those_of_random_access(tmp_path, clip):
    path = write_video(tmp_path / "film.mp4", 200, rate=25, b_frames=2)
    clips, _ = streamed_clips(path, [0.0, 3.0, 4.0], clip)
    with VideoFileReader(path) as reader:
        for key_time, found in zip([0.0, 3.0, 4.0], clips):
            read = reader.read(clip_times(key_time, **clip), tick=1 / 25)
            assert read_numbers(found) == read_numbers(read)
    middle = read_numbers(clips[2])
    expected = range(69, 130, 4) if clip["frame_shift"] == 1 else [0, 6, 43, 81, 118, 156, 193, 199]
    assert middle == list(expected)


def test_clips_of_a_variable_rate_and_at_the_edges(tmp_path):
    times = [0, 0.1, 0.15, 0.9, 1.0, 1.04, 1.06, 1.5]
    path = write_video(tmp_path / "vfr.mp4", 8, times=times)
    clips, _ = streamed_clips(path, [0.0, 1.0, 1.5])
    # Slots are 1/15 s apart and show the last frame that begins before them, plus 1/60 s.
    assert read_numbers(clips[0]) == [0, 0, 0, 0, 0, 0, 1, 2]
    assert read_numbers(clips[1]) == [2, 2, 2, 3, 4, 6, 6, 6]
    assert read_numbers(clips[2]) == [6, 6, 6, 6, 7, 7, 7, 7]


def test_only_the_frames_of_the_next_clip_are_kept(tmp_path):
    path = write_video(tmp_path / "film.mp4", 250)
    _, most = streamed_clips(path, np.arange(9))
    # From 8/30 s before a key frame to 6/30 s after it, and up to the clip after it.
    assert most <= 45


def test_a_single_frame_fills_the_clip():
    window = ClipWindow(num_frames=4, frame_stride=1, fps=10.0)
    window.append(0.0, np.full((2, 3, 3), 7, np.uint8))
    assert window.needs(0.05, key_time=0.0) and not window.needs(0.2, key_time=0.0)
    np.testing.assert_array_equal(window.clip(0.0), np.full((4, 2, 3, 3), 7))


def test_a_frame_that_begins_at_the_limit_is_too_late():
    window = ClipWindow(num_frames=1, frame_stride=1, fps=10.0)
    (limit,) = display_limits(np.zeros(1), tick=0.1)
    for number, time in enumerate((0.0, limit)):
        window.append(time, np.full((1, 1, 3), number, np.uint8))
    assert not window.needs(limit, key_time=0.0) and window.clip(0.0).max() == 0
