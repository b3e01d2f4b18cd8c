from collections import Counter

import numpy as np
import pytest

from tubedet.data.video.unseen_frames import MissedFrameError, UnseenFrames
from tubedet.data.video.video_file import VideoFileReader

TICK = 1 / 30


class _Packet:
    def __init__(self, pts, duration=10):
        self.pts, self.duration = pts, duration


def test_frames_that_no_limit_shows_are_left_out():
    unseen = UnseenFrames([15.0, 35.0, 35.0, 61.0])
    left_out = [pts for pts in range(0, 90, 10) if unseen.leave_out(_Packet(pts))]
    assert left_out == [0, 20, 40, 70, 80]  # 50 could be shown at 61 if its duration is rounded
    # Nothing is known of these.
    assert not unseen.leave_out(_Packet(None)) and not unseen.leave_out(_Packet(0, duration=0))
    unseen.check_shown(10, 15.0)
    unseen.check_shown(30, 35.0)
    with pytest.raises(MissedFrameError):
        unseen.check_shown(30, 61.0)  # 40 is nearer
    with pytest.raises(MissedFrameError):
        unseen.check_shown(None, 15.0)


def _decoded(reader, monkeypatch):
    counted = Counter()
    decoded_frames = VideoFileReader._decoded_frames

    def count(self, leave_out=None):
        for frame in decoded_frames(self, leave_out):
            counted["all" if leave_out is None else "needed"] += 1
            yield frame

    monkeypatch.setattr(VideoFileReader, "_decoded_frames", count)
    return counted


def test_of_every_second_frame_half_is_decoded(tmp_path, write_video, numbers_in, monkeypatch):
    path = write_video(tmp_path / "video.mp4", 200, b_frames=1, gop=30)
    times = np.arange(40, 100, 2) / 30
    with VideoFileReader(path) as reader:
        counted = _decoded(reader, monkeypatch)
        assert numbers_in(reader.read(times, tick=TICK)) == list(range(40, 100, 2))
        # From the key frame before them on: 30 to 98, and some frames that are on their way then.
        assert counted["all"] == 0 and 35 <= counted["needed"] <= 46
        counted.clear()
        assert numbers_in(reader.read(np.arange(40, 100) / 30, tick=TICK)) == list(range(40, 100))
        assert counted["needed"] >= 60


def test_wrong_durations_are_noticed(tmp_path, write_video, numbers_in, monkeypatch):
    """In Matroska a frame of a varying rate has the duration of the rate that the file states."""
    steps = np.tile([0.01, 0.3, 0.02, 0.4], 23)[:89]
    frame_times = np.concatenate([[0], np.cumsum(steps)]).round(3)
    path = write_video(tmp_path / "video.mkv", 90, times=frame_times, b_frames=1, gop=20)
    times = np.arange(30, 130) / 30
    expected = [int(np.count_nonzero(frame_times < t + TICK / 2 - 1e-3)) - 1 for t in times]
    with VideoFileReader(path) as reader:
        counted = _decoded(reader, monkeypatch)
        assert numbers_in(reader.read(times, tick=TICK)) == expected
        assert counted["needed"] > 0 and counted["all"] > 0
        counted.clear()
        assert numbers_in(reader.read(times, tick=TICK)) == expected
        assert counted["needed"] == 0  # it is not tried again


@pytest.mark.parametrize(
    "suffix, codec, leaves_out",
    [("mp4", "libx264", True), ("avi", "libx264", False), ("mp4", "mpeg4", False)],
)
def test_where_packets_have_other_times_than_frames_all_are_decoded(
    tmp_path, suffix, codec, leaves_out, write_video, numbers_in, monkeypatch
):
    path = write_video(tmp_path / f"video.{suffix}", 60, codec=codec, b_frames=1, gop=30)
    times = np.arange(10, 50, 2) / 30
    with VideoFileReader(path) as reader:
        counted = _decoded(reader, monkeypatch)
        found = reader.read(times, tick=TICK)
    assert (counted["needed"] > 0) == leaves_out and (counted["all"] > 0) != leaves_out
    if suffix == "mp4":
        assert numbers_in(found) == list(range(10, 50, 2))
