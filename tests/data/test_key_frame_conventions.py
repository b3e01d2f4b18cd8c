"""From key-frame times to frames, as the field does it, for every way a film can be stored."""

import os

import cv2
import numpy as np
import pytest

from tubedet.data.clip_sampling import clip_times, frame_indices
from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.video.reader import VideoError

START = 900.0
NUM_STORED = 27_030


def slowfast_indices(second, num_frames, stride):
    """0-based: every index is clamped on its own."""
    centre = (second - 900) * 30
    indices = range(
        centre - num_frames * stride // 2, centre + (num_frames * stride + 1) // 2, stride
    )
    return [min(max(index, 0), NUM_STORED - 1) for index in indices]


def tuber_indices(second, num_frames, stride):
    """0-based: the start is clamped, then every index at the end."""
    start = max((second - 900) * 30 - num_frames // 2 * stride, 0)
    return np.clip(range(start, start + num_frames * stride, stride), 0, NUM_STORED - 1).tolist()


@pytest.mark.parametrize("num_frames, stride", [(32, 2), (16, 4), (8, 8), (4, 16), (64, 1)])
@pytest.mark.parametrize("convention", [slowfast_indices, tuber_indices])
def test_indices_are_those_of_both_conventions(convention, num_frames, stride):
    for second in range(902, 1799):
        times = clip_times(second, num_frames=num_frames, frame_stride=stride, fps=30)
        indices = frame_indices(times, fps=30, start_second=START, num_stored=NUM_STORED)
        assert indices.tolist() == convention(second, num_frames, stride)
        assert indices[num_frames // 2] == (second - 900) * 30


def read_clip(record, numbers_in, num_frames=8, stride=2):
    mapper = ClipDatasetMapper(
        False,
        augmentations=[],
        num_frames=num_frames,
        frame_stride=stride,
        fps=30,
        num_actions=80,
    )
    clip = mapper({"video_id": "film", "fps": 30.0, "start_second": START, **record})["clip"]
    return numbers_in(clip.permute(1, 2, 3, 0).numpy())


def shown_at(begins, second):
    """8 frames around a second: the last that begins half a tick (less 1 ms) after each time."""
    times = (np.array(slowfast_indices(second, 8, 2)) / 30).clip(min=0)
    return [int(np.count_nonzero(begins < time + 1 / 60 - 1e-3)) - 1 for time in times]


@pytest.mark.parametrize(
    "file_name, options",
    [
        ("film.mp4", {}),
        ("b_frames.mp4", {"b_frames": 3, "gop": 50}),
        ("first_pts.mp4", {"first_pts": 111, "b_frames": 2}),
        ("first_pts.mkv", {"first_pts": 111}),
        ("first_pts.ts", {"b_frames": 2}),
        ("film.avi", {"codec": "mpeg4"}),
    ],
)
def test_thirty_frames_per_second(tmp_path, write_video, numbers_in, file_name, options):
    path = write_video(tmp_path / file_name, 200, **options)
    for second in range(902, 906):
        clip = read_clip({"video": path, "timestamp": float(second)}, numbers_in)
        assert clip == slowfast_indices(second, 8, 2)


@pytest.mark.parametrize("rate", [10, 24000 / 1001, 24, 25, 30000 / 1001, 50, 60])
@pytest.mark.parametrize("first_pts", [0, 40])
def test_other_frame_rates(tmp_path, write_video, numbers_in, rate, first_pts):
    num_frames = min(int(5 * rate), 255)
    path = write_video(
        tmp_path / "film.mp4", num_frames, rate=rate, first_pts=first_pts, b_frames=2
    )
    for second in range(902, 904):
        clip = read_clip({"video": path, "timestamp": float(second)}, numbers_in)
        assert clip == shown_at(np.arange(num_frames) / rate, second)


def test_variable_frame_rate_with_a_late_begin(tmp_path, write_video, numbers_in):
    rng = np.random.default_rng(5)
    steps = rng.choice([0.018, 0.04, 0.3], size=149)
    begins = np.concatenate([[0], np.cumsum(steps)])
    path = write_video(tmp_path / "film.mkv", 150, times=begins + 1.5, b_frames=2)
    for second in range(901, 900 + int(begins[-1])):
        clip = read_clip({"video": path, "timestamp": float(second)}, numbers_in)
        assert clip == shown_at(begins, second)


@pytest.fixture
def folder(tmp_path, frame_with_number):
    """A frame folder of AVA that ends 14 frames before its last second is over."""
    path = tmp_path / "film"
    os.makedirs(path)
    for number in range(136):
        cv2.imwrite(str(path / f"film_{number + 1:06d}.jpg"), frame_with_number(number))
    return str(path)


def test_missing_last_frames_repeat_the_last_one(tmp_path, write_video, folder, numbers_in):
    video = write_video(tmp_path / "film.mp4", 136, b_frames=2)
    for path in (folder, video):
        record = {"video": path, "timestamp": 904.0}
        assert read_clip(record, numbers_in, num_frames=16) == [*range(104, 135, 2)]
        record["timestamp"] = 904.4
        clip = read_clip(record, numbers_in, num_frames=16)
        assert clip == [*range(116, 136, 2), *[135] * 6]
        with pytest.raises(VideoError, match=r"key frame 906 s .* no frame from 5\.\d+ s on"):
            read_clip({"video": path, "timestamp": 906.0}, numbers_in)


def test_start_and_rate_belong_to_the_video(tmp_path, folder, write_video, numbers_in):
    # The same folder, said to have been written at 10 frames per second from second 2 on.
    record = {"video": folder, "timestamp": 6.0, "start_second": 2.0, "fps": 10.0}
    assert read_clip(record, numbers_in, num_frames=4, stride=6) == [36, 38, 40, 42]
    video = write_video(tmp_path / "film.mp4", 136, rate=10)
    assert read_clip({**record, "video": video}, numbers_in, 4, 6) == [36, 38, 40, 42]
