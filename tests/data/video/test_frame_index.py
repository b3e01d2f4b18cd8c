import os

import av
import numpy as np
import pytest

from tubedet.data.video import frame_index as module
from tubedet.data.video.frame_index import FrameIndex, frame_index
from tubedet.data.video.index_files import index_file_path
from tubedet.data.video.video_file import VideoError, VideoFileReader

PAUSE = [i / 25 + (0.4 if i >= 30 else 0) for i in range(60)]


@pytest.fixture(autouse=True)
def forget():
    module._remembered.cache_clear()
    yield
    module._remembered.cache_clear()


@pytest.fixture
def decoding_passes(monkeypatch):
    """Paths of the videos that were decoded for their index."""
    paths = []
    decoded = module._decoded

    def decode(path):
        paths.append(path)
        return decoded(path)

    monkeypatch.setattr(module, "_decoded", decode)
    return paths


def milliseconds(index):
    return (index.pts - index.pts[0]).tolist()


@pytest.mark.parametrize(
    "name, options, passes",
    [
        ("a.mp4", {"b_frames": 2}, 0),
        ("a.mkv", {"codec": "libvpx-vp9"}, 0),
        ("a.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p"}, 0),
        ("hidden.mp4", {"first_pts": -5}, 1),  # an edit list
        ("a.mp4", {"codec": "mpeg4"}, 1),  # a packet may hold two frames, or none
        ("a.avi", {}, 1),
        ("a.mpg", {"codec": "mpeg2video"}, 1),
    ],
)
def test_videos_are_decoded_only_where_packets_do_not_tell(
    tmp_path, write_video, decoding_passes, name, options, passes
):
    path = write_video(tmp_path / name, 40, rate=25, **options)
    index = frame_index(path)
    assert len(index.pts) == (35 if name == "hidden.mp4" else 40) and index.end == ""
    assert len(decoding_passes) == passes
    # Small files that need no decoding are scanned again, which is as fast as reading the index.
    assert os.path.exists(index_file_path(path)) is bool(passes)
    module._remembered.cache_clear()
    np.testing.assert_array_equal(frame_index(path).pts, index.pts)
    assert len(decoding_passes) == passes


def test_times_of_a_pause(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / "pause.mkv", 60, times=PAUSE, b_frames=3)
    assert milliseconds(frame_index(path)) == [round(1000 * time) for time in PAUSE]
    assert not os.path.exists(index_file_path(path))
    monkeypatch.setattr(module, "_MIN_SCANNED_BYTES", 1)
    module._remembered.cache_clear()
    frame_index(path)
    monkeypatch.setattr(module, "_scanned", lambda path: pytest.fail("the index is beside it"))
    module._remembered.cache_clear()
    assert milliseconds(frame_index(path)) == [round(1000 * time) for time in PAUSE]


def test_a_changed_video_gets_a_new_index(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", 20, codec="mpeg4")
    assert len(frame_index(path).pts) == 20
    write_video(path, 30, codec="mpeg4")
    assert len(frame_index(path).pts) == 30
    module._remembered.cache_clear()
    assert len(frame_index(path).pts) == 30


def test_a_damaged_index_file_is_replaced(tmp_path, write_video, decoding_passes):
    path = write_video(tmp_path / "a.avi", 20, codec="mpeg4")
    frame_index(path)
    with open(index_file_path(path)) as stream:
        good = stream.read()
    with open(index_file_path(path), "w") as stream:
        stream.write(good[: len(good) // 2])
    module._remembered.cache_clear()
    assert len(frame_index(path).pts) == 20 and len(decoding_passes) == 2
    with open(index_file_path(path)) as stream:
        assert stream.read() == good


def test_a_folder_that_cannot_be_written(tmp_path, write_video, monkeypatch, decoding_passes):
    path = write_video(tmp_path / "a.avi", 20, codec="mpeg4")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("tubedet.data.video.index_files.open_atomically", refuse)
    for _ in range(3):
        assert len(frame_index(path).pts) == 20
    assert len(decoding_passes) == 1


def test_limits_lie_half_a_usual_frame_after_each_frame():
    index = FrameIndex(np.array([0, 40, 80, 90, 500, 540]))
    assert index.limits(np.array([0, 2, 3, 5])).tolist() == [20, 85, 110, 560]
    assert FrameIndex(np.array([7])).limits(np.array([0])).tolist() == [7.5]


def test_counted_frames_go_on_behind_the_index():
    counted = FrameIndex(np.array([3, 5, 9]), is_counted=True).counted_pts()
    assert [next(counted) for _ in range(5)] == [3, 5, 9, 10, 11]


def test_a_file_that_is_cut_off_numbers_the_frames_before(tmp_path, write_video, numbers_in):
    fast = {"movflags": "faststart"}
    path = write_video(tmp_path / "a.mp4", 150, b_frames=2, container_options=fast)
    with open(path, "r+b") as stream:
        stream.truncate(os.path.getsize(path) * 2 // 3)
    index = frame_index(path)
    assert 60 < len(index.pts) < 145
    with VideoFileReader(path) as reader:
        assert numbers_in(reader.read_numbered(50)) == [49]
        with pytest.raises(VideoError, match=r"a\.mp4: no frame number 149: the video has \d+ fr"):
            reader.read_numbered(149)


def test_frames_behind_damage_are_not_numbered_by_decoding(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", 60, codec="mjpeg", pixel_format="yuvj420p")
    with av.open(path) as container:
        packet = [p for p in container.demux(video=0) if p.size][30]
        place, size = packet.pos, packet.size
    with open(path, "r+b") as stream:
        stream.seek(place + 8)
        stream.write(b"\0" * size)
    index = frame_index(path)
    assert len(index.pts) == 30 and index.end == "the file is damaged there"
    with VideoFileReader(path) as reader:
        assert len(reader.read_numbered(30)) == 1
        with pytest.raises(VideoError, match="has 30 frames; the file is damaged there"):
            reader.read_numbered(31)


def test_a_frame_that_cannot_be_decoded_is_not_replaced(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "a.mov", 60, codec="mjpeg", pixel_format="yuvj420p")
    with av.open(path) as container:
        packet = [p for p in container.demux(video=0) if p.size][30]
        place, size = packet.pos, packet.size
    with open(path, "r+b") as stream:
        stream.seek(place)
        stream.write(b"\0" * size)
    with VideoFileReader(path) as reader:
        assert numbers_in(reader.read_numbered(30, [0, 2])) == [29, 31]
        with pytest.raises(VideoError, match=r"a\.mov: frame number 31 cannot be decoded; mend"):
            reader.read_numbered(30, [0, 1, 2])


@pytest.mark.parametrize("number", [0, -1, 21, 10**12])
def test_numbers_outside_of_the_video(tmp_path, write_video, number):
    path = write_video(tmp_path / "a.mp4", 20)
    with VideoFileReader(path) as reader:
        with pytest.raises(VideoError, match=f"no frame number {number}: the video has 20 frames$"):
            reader.read_numbered(number)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VideoError, match="gone.mp4: No such file"):
        frame_index(str(tmp_path / "gone.mp4"))
