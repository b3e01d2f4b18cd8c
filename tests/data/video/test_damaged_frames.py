"""Frames that cannot be decoded are counted, each once, and told in a line."""

import errno
import itertools
import logging
from pathlib import Path

import av
import numpy as np
import pytest
from growing_video import write_growing_video
from numbered_videos import damage_packets, read_numbers, write_video

from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.validation.media_checks import check_media
from tubedet.data.video import frame_decoder
from tubedet.data.video.container import read_packets
from tubedet.data.video.damaged_frames import DamagedFrames
from tubedet.data.video.reader import open_video
from tubedet.data.video.sources import open_frame_source
from tubedet.data.video.video_file import VideoError, VideoFileReader
from tubedet.engine import load_config

SPREAD = (*range(20, 30), *range(60, 70), *range(90, 100))  # 30 frames, no second in a row


@pytest.fixture
def damaged(tmp_path):
    """Ten seconds in which every frame is one for itself; 30 of 100 are damaged."""
    path = tmp_path / "v.mp4"
    write_video(path, 100, rate=15, gop=1)
    damage_packets(path, SPREAD)
    return path


def test_thirty_frames_that_were_lost_without_a_word(damaged):
    with VideoFileReader(damaged) as reader:
        for _ in range(2):  # each is counted once
            shown = [read_numbers(reader.rgb(f)[None])[0] for _, f in reader.frames_from(0)]
            assert shown == [number for number in range(100) if number not in SPREAD]
            assert (reader.damage.num_lost, reader.damage.num_faulty) == (30, 0)
        expected = f"{damaged}: 30 of about 100 frames are damaged and left out"
        assert reader.damage.message(reader.num_frames) == expected
        assert reader.damage.message(None) == f"{damaged}: 30 frames are damaged and left out"


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_hole_is_found_although_the_decoder_hands_frames_out_late(b_frames, tmp_path):
    """Behind the first packet of the hole comes a frame from before it."""
    path = write_video(tmp_path / "v.mp4", 100, rate=15, gop=5, b_frames=b_frames)
    damage_packets(path, range(40, 70))
    shown = []
    with VideoFileReader(path) as reader:
        with pytest.raises(VideoError, match=r"v\.mp4: not decodable from 2\.\d* s to 4\.\d* s"):
            shown.extend(time for time, _ in reader.frames_from(0))
        assert len(shown) >= 38 and reader.damage.num_lost == 30
        with pytest.raises(VideoError, match=r"v\.mp4: not decodable at 4\.000 s"):
            reader.read([2.0, 4.0])


def test_frames_of_which_a_part_is_lost_are_shown_and_counted(tmp_path):
    path = write_video(tmp_path / "v.mp4", 50, gop=1, size=(240, 320))
    damage_packets(path, range(10, 20), kept=0.6)
    with VideoFileReader(path) as reader:
        assert sum(1 for _ in reader.frames_from(0)) == 50
        assert (reader.damage.num_lost, reader.damage.num_faulty) == (0, 10)
        assert reader.damage.message(50).endswith(
            "v.mp4: 10 of about 50 frames are damaged and shown with faults"
        )
    damage_packets(path, range(30, 35))
    with open_frame_source(path) as source:
        assert sum(1 for _ in source.stored_frames()) == 45 and source.num_damaged == 15
        assert source.damage_message().endswith(
            "5 of about 50 frames are damaged and left out, 10 more are shown with faults"
        )


def test_frames_beyond_the_limit_of_size_count_as_well(tmp_path):
    path = write_growing_video(tmp_path / "v.avi", [(64, 48)] * 10 + [(4000, 3000)] * 5)
    with VideoFileReader(path, max_pixels=1_000_000) as reader:
        assert sum(1 for _ in reader.frames_from(0)) == 10 and reader.damage.num_lost == 5


@pytest.mark.parametrize("codec, name", [("libx264", "v.mp4"), ("mpeg4", "v.avi")])
def test_a_whole_video_has_no_damage_wherever_it_is_read(codec, name, tmp_path):
    path = write_video(tmp_path / name, 90, codec=codec, gop=9, b_frames=2)
    with VideoFileReader(path) as reader:
        for second in (2.5, 0.1, 1.9, 2.96, 0.0):
            reader.read(second + np.arange(4) / 30)
        assert sum(1 for _ in reader.frames_from(1.0)) > 50
        assert reader.damage.message(90) is None
        assert (reader.damage.num_lost, reader.damage.num_faulty) == (0, 0)


class FailingDisk:
    """A container of which ten packets can be read."""

    def __init__(self, container, error):
        self.container, self.error = container, error

    def demux(self, stream):
        yield from itertools.islice(self.container.demux(stream), 10)
        raise self.error


def test_a_disk_that_fails_on_the_way_is_no_end_of_the_video(damaged, monkeypatch):
    """As when a mount disappears; nothing more came, and the video seemed to end there."""
    error = av.error.OSError(errno.EIO, "Input/output error")

    def read_from_failing_disk(container, stream, path):
        return read_packets(FailingDisk(container, error), stream, path)

    monkeypatch.setattr(frame_decoder, "read_packets", read_from_failing_disk)
    shown = []
    message = r"v\.mp4: cannot be read any further \(Input/output error\)"
    with VideoFileReader(damaged) as reader, pytest.raises(VideoError, match=message):
        shown.extend(reader.frames_from(0))
    assert len(shown) >= 8

    error = av.error.InvalidDataError(1, "Invalid data")  # that is how a damaged file may end
    with VideoFileReader(damaged) as reader:
        assert sum(1 for _ in reader.frames_from(0)) == 10
    error = av.error.OSError(errno.ECONNRESET, "Connection reset by peer")
    with av.open(str(damaged)) as container, pytest.raises(av.error.OSError, match="reset"):
        list(read_packets(FailingDisk(container, error), container.streams.video[0], "rtsp://a/b"))


def test_training_and_evaluation_say_it_once(damaged, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    opts = ["INPUT.CLIP.NUM_FRAMES", 4, "INPUT.CLIP.FPS", 15.0, "INPUT.MIN_SIZE_TEST", 48]
    mapper = ClipDatasetMapper(load_config("", opts), is_train=False)
    record = {"video_id": "v", "video": str(damaged), "fps": 15.0, "start_second": 0.0}
    record |= {"height": 48, "width": 64, "annotations": []}
    for second in (1.0, 1.9, 2.1, 4.5):
        mapper({**record, "timestamp": second})
    (line,) = caplog.records
    assert line.levelname == "WARNING" and line.getMessage().startswith(f"{damaged}: ")
    assert "of about 100 frames are damaged and left out, as far as it was" in line.getMessage()


def test_validation_counts_what_it_meets(damaged):
    record = {"video_id": "v", "video": str(damaged), "fps": 15.0, "start_second": 0.0}
    seconds = np.arange(0, 6, 0.5)
    records = [{**record, "timestamp": float(second)} for second in seconds]
    (problem,) = check_media(records, every_key_frame=True)
    assert (problem.severity, problem.kind, Path(problem.file)) == ("warning", "media", damaged)
    assert problem.message.endswith("of about 100 frames are damaged and left out")
    assert 0 < int(problem.message.split()[0]) <= 30


def test_packets_without_a_time_and_empty_ones(damaged):
    damage = DamagedFrames("v.mp4")
    empty = av.Packet(0)
    damage.lose(None)
    damage.lose(empty)
    assert damage.num_lost == 0
    packet = av.Packet(4)
    packet.dts = 7
    for _ in range(3):
        damage.lose(packet)
    assert damage.num_lost == 1
    with open_video(damaged) as reader:
        assert isinstance(reader, VideoFileReader) and reader.damage.num_lost == 0
