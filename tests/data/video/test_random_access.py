"""Random access gives the frames of sequential decoding, in every container that is accepted.

What PyAV cannot write was tried with ffmpeg by hand: XviD with packed frames and H.264 with 16
B-frames in AVI, HEVC with open groups of pictures, interlaced H.264, Theora, files cut with
``-ss ... -c copy``.
"""

from pathlib import Path

import av
import numpy as np
import pytest

from tubedet.data.video.reader import VIDEO_EXTENSIONS
from tubedet.data.video.video_file import VideoFileReader

NUM_FRAMES = 45
VARYING = np.concatenate([[0], np.cumsum(np.tile([0.02, 0.04, 0.1, 0.3], 11))]).round(3)
OPEN_GOP = {"x264-params": "open-gop=1:scenecut=0:b-adapt=0"}
X265_OPEN_GOP = {
    "x265-params": "log-level=none:keyint=12:min-keyint=12:bframes=3:open-gop=1:scenecut=0"
}
VPX = {"deadline": "realtime", "cpu-used": "8"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
# File name: options of write_video.
VIDEOS = {
    "plain.mp4": {},
    "b_frames.mp4": {"b_frames": 3},
    "open_gop.mp4": {"b_frames": 3, "codec_options": OPEN_GOP},
    "varying.mp4": {"b_frames": 3, "times": VARYING},
    "late.mp4": {"b_frames": 3, "first_pts": 33},
    "edit_list.mp4": {"b_frames": 3, "first_pts": -5},
    "fragments.mp4": {"b_frames": 3, "container_options": FRAGMENTED},
    "varying_fragments.mp4": {"b_frames": 2, "times": VARYING, "container_options": FRAGMENTED},
    "hevc_open_gop.mp4": {"codec": "libx265", "b_frames": 3, "codec_options": X265_OPEN_GOP},
    "mpeg4.mp4": {"codec": "mpeg4", "b_frames": 2},
    "av1.mp4": {"codec": "libsvtav1", "codec_options": {"preset": "12"}},
    "b_frames.mov": {"b_frames": 3},
    "edit_list.mov": {"first_pts": -5},
    "varying.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p", "times": VARYING},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "b_frames.m4v": {"codec": "mpeg4", "b_frames": 2, "times": VARYING},
    "b_frames.mkv": {"b_frames": 3},
    "open_gop.mkv": {"b_frames": 3, "codec_options": OPEN_GOP, "first_pts": 33},
    "varying.mkv": {"b_frames": 3, "times": VARYING},
    "hevc_open_gop.mkv": {"codec": "libx265", "b_frames": 3, "codec_options": X265_OPEN_GOP},
    "mpeg2.mkv": {"codec": "mpeg2video", "b_frames": 2, "rate": 25},
    "vp8.webm": {"codec": "libvpx", "codec_options": VPX},
    "vp9.webm": {"codec": "libvpx-vp9", "codec_options": VPX, "times": VARYING},
    "plain.avi": {"codec": "mpeg4"},
    "b_frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "h264.avi": {},
    "h264_b_frames.avi": {"b_frames": 3},
    "h264_open_gop.avi": {"b_frames": 3, "codec_options": OPEN_GOP, "times": VARYING},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p", "times": VARYING},
    "plain.mpg": {"codec": "mpeg2video", "rate": 25},
    "b_frames.mpg": {"codec": "mpeg2video", "b_frames": 2, "rate": 25},
    "mpeg1.mpg": {"codec": "mpeg1video", "b_frames": 2, "rate": 25, "first_pts": 33},
    "b_frames.ts": {"b_frames": 3, "times": VARYING},
    "open_gop.ts": {"b_frames": 3, "codec_options": OPEN_GOP},
    "mpeg2.ts": {"codec": "mpeg2video", "b_frames": 2, "rate": 25},
    "mpeg4.ts": {"codec": "mpeg4", "b_frames": 2},
    "b_frames.flv": {"b_frames": 3, "times": VARYING},
    "plain.wmv": {"codec": "wmv2", "times": VARYING},
    "b_frames.asf": {"b_frames": 3},
    "b_frames.vob": {"codec": "mpeg2video", "b_frames": 2, "rate": 25},
    "b_frames.mxf": {"codec": "mpeg2video", "b_frames": 2, "rate": 25},
    "b_frames.3gp": {"b_frames": 3, "times": VARYING},
}


def sequential_frames(path):
    """Frames as FFmpeg gives them, in order."""
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_every_accepted_container_is_tried():
    assert {Path(name).suffix for name in VIDEOS} > set(VIDEO_EXTENSIONS)


@pytest.mark.parametrize("name", VIDEOS)
def test_random_access_equals_sequential_decoding(tmp_path, write_video, numbers_in, name):
    path = write_video(tmp_path / name, NUM_FRAMES, **VIDEOS[name])
    expected = sequential_frames(path)
    hidden = NUM_FRAMES - len(expected)
    assert hidden == (5 if name.startswith("edit_list") else 0)
    assert numbers_in(np.stack(expected)) == list(range(hidden, NUM_FRAMES))
    order = np.random.default_rng(0).permutation(len(expected)).tolist()
    with VideoFileReader(path) as reader:
        times, frames = zip(*reader)
        np.testing.assert_array_equal(frames, expected)
        assert reader.count_frames() == len(expected)
        if Path(name).suffix in (".mp4", ".mov", ".m4v"):  # of others it is an estimate
            assert reader.num_frames == len(expected)
        for index in order:
            np.testing.assert_array_equal(reader.read_numbered(index + 1)[0], expected[index])
    shortest = np.diff(times).min()
    assert shortest > 0
    with VideoFileReader(path) as reader:  # which does not know its frames by number
        for index in order:
            frame = reader.read([times[index]], tick=shortest)[0]
            np.testing.assert_array_equal(frame, expected[index])


@pytest.mark.parametrize(
    "name, seeks", [("b_frames.mp4", True), ("b_frames.avi", True), ("h264_b_frames.avi", False)]
)
def test_only_files_without_times_are_decoded_from_their_start(tmp_path, write_video, name, seeks):
    path = write_video(tmp_path / name, NUM_FRAMES, **VIDEOS[name])
    with VideoFileReader(path) as reader:
        assert reader.seeks is seeks


def test_a_picture_that_is_refreshed_part_by_part(tmp_path, write_video, numbers_in):
    # Files mark where a refresh begins as if it were a key frame; decoders begin later, and may
    # show something else than in sequential decoding.
    refresh = {"x264-params": "intra-refresh=1:scenecut=0"}
    options = {"codec_options": refresh, "size": (96, 128), "gop": 30}
    path = write_video(tmp_path / "film.mp4", 120, **options)
    with av.open(path) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) > 2
    with VideoFileReader(path) as reader:
        assert next(reader.frames_from(3.0))[0] == 0
        assert numbers_in(reader.read_numbered(100)) == [99]


def test_frames_with_the_same_time_differ_in_number(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "varying.avi", NUM_FRAMES, times=VARYING)
    with VideoFileReader(path) as reader:
        times = [time for time, _ in reader]
        assert times[-2] == times[-1] > times[-3]
        for number in (45, 3, 44, 43):
            assert numbers_in(reader.read_numbered(number)) == [number - 1]


def test_clips_of_numbered_frames(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "varying.mp4", NUM_FRAMES, **VIDEOS["varying.mp4"])
    with VideoFileReader(path) as reader:
        clip = reader.read_numbered(4, np.arange(-4, 4) * 2)
        assert numbers_in(clip) == [0, 0, 0, 1, 3, 5, 7, 9]
        assert numbers_in(reader.read_numbered(44, [3, 0, -1, 1])) == [44, 43, 42, 44]
