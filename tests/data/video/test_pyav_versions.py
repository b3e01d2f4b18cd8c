import os
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from picture_videos import write_colour_video
from video_with_sound import write_video_with_sound

from tubedet.data.video import pyav_versions
from tubedet.data.video.pyav_versions import open_for_reading, to_rgb
from tubedet.data.video.video_file import VideoError, VideoFileReader


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_titles_that_are_not_utf8_stop_nothing(tmp_path, suffix):
    codec = "mp3" if suffix == ".avi" else "aac"
    path = tmp_path / f"film{suffix}"
    write_video_with_sound(path, audio_codec=codec, odd_titles=True)
    with open_for_reading(str(path)) as container:
        assert len(list(container.decode(video=0))) == 20
        named = [container, *container.streams]
        titles = [x.metadata.get("title", x.metadata.get("name")) for x in named]
    # The odd byte is told by U+FFFD or, from PyAV 19 on, by the surrogate that stands for it.
    assert titles[0] in ("Caf\ufffd in the evening", "Caf\udce9 in the evening")
    assert set(titles[1:]) <= {titles[0], None}  # FFmpeg before 8 knows no titles of mp4 streams


def test_further_arguments_are_passed_on(tmp_path):
    path = tmp_path / "film.mp4"
    write_video_with_sound(path)
    with pytest.raises(av.error.FFmpegError):
        open_for_reading(str(path), options={"format_whitelist": "avi"})


def test_frames_are_converted_in_the_wanted_size():
    colours = np.zeros((48, 64, 3), np.uint8)
    colours[:, :32], colours[:, 32:] = (255, 0, 0), (0, 0, 255)
    frame = av.VideoFrame.from_ndarray(colours, format="rgb24").reformat(format="yuv444p")
    image = to_rgb(VideoReformatter(), frame, width=32, height=24)
    assert image.shape == (24, 32, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image[12, 4].astype(int), (255, 0, 0), atol=4)
    np.testing.assert_allclose(image[12, 28].astype(int), (0, 0, 255), atol=4)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_frames_are_converted_in_the_calling_thread():
    reformatter, frame = VideoReformatter(), av.VideoFrame(1280, 720, "yuv420p")
    num_threads = len(os.listdir("/proc/self/task"))
    to_rgb(reformatter, frame, width=1280, height=720)
    assert len(os.listdir("/proc/self/task")) == num_threads
    if pyav_versions._MAJOR_VERSION >= 17 and len(os.sched_getaffinity(0)) > 1:
        other = VideoReformatter()  # kept, and with it its threads
        other.reformat(frame, 1280, 720, format="rgb24")
        assert len(os.listdir("/proc/self/task")) > num_threads


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_colours_are_those_of_the_tag(tmp_path, matrix, full_range, pix_fmt):
    """PyAV before 17 took all for BT.601 of limited range, and was wrong by up to 37 levels."""
    for rgb in ((30, 180, 60), (200, 40, 40), (128, 128, 128)):
        path = write_colour_video(
            *(tmp_path / "a.mp4", rgb),
            **{"matrix": matrix, "tag": matrix, "full_range": full_range, "pix_fmt": pix_fmt},
        )
        with VideoFileReader(path) as reader:
            frames = [reader.read([0.1])[0], next(iter(reader))[1]]
        for frame in frames:
            assert np.abs(frame.astype(int) - rgb).max() <= 3


def test_untagged_colours_are_bt601_at_any_size(tmp_path):
    path = write_colour_video(tmp_path / "a.mp4", (30, 180, 60), matrix=6, tag=2)
    with VideoFileReader(path) as reader:
        assert np.abs(reader.read([0.0])[0].astype(int) - (30, 180, 60)).max() <= 3
    # The pixels that FFmpeg makes by default, and so the frames of published models.
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        expected = VideoReformatter().reformat(frame, 64, 48, format="rgb24").to_ndarray()
        converted = to_rgb(VideoReformatter(), frame, width=64, height=48)
    np.testing.assert_array_equal(converted, expected)


def test_colours_without_a_conversion_are_one_line(tmp_path):
    path = write_colour_video(tmp_path / "a.mp4", (30, 180, 60), matrix=6, tag=8)  # YCgCo
    with VideoFileReader(path) as reader:
        with pytest.raises(VideoError, match=r"a\.mp4: its colours .* \(yuv420p, colour space 8\)"):
            reader.read([0.0])
