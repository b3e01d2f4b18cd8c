import errno
from fractions import Fraction

import av
import numpy as np
import pytest

from tubedet.data.video.video_file import VideoFileReader
from tubedet.inference.writers import VideoWriter


def _frames(count, height, width):
    ramp = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    return [(ramp + index).astype(np.uint8) for index in range(count)]


def _decode(path):
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return rate, [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


@pytest.mark.parametrize("name", ["a video.mp4", "clip.avi", "clip.mkv"])
@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 10.0])
def test_all_frames_come_out_again(tmp_path, name, fps):
    frames = _frames(37, 48, 64)
    with VideoWriter(tmp_path / "deep" / name, fps, (64, 48)) as writer:
        for frame in frames:
            writer.write(frame)
    rate, decoded = _decode(tmp_path / "deep" / name)
    assert len(decoded) == 37
    assert rate == pytest.approx(float(fps), rel=1e-3)
    assert np.abs(np.array(decoded, int) - np.array(frames)).mean() < 4
    assert [p.name for p in (tmp_path / "deep").iterdir()] == [name]


def test_a_float_rate_becomes_the_broadcast_one(tmp_path):
    assert VideoWriter(tmp_path / "a.mp4", 30000 / 1001).fps == Fraction(30000, 1001)


def test_odd_sizes_are_padded_by_repetition(tmp_path):
    frames = _frames(3, 47, 63)
    with VideoWriter(tmp_path / "odd.mp4", 5) as writer:
        for frame in frames:
            writer.write(frame)
    _, decoded = _decode(tmp_path / "odd.mp4")
    assert decoded[0].shape == (48, 64, 3)
    assert np.abs(decoded[0][:47, :63].astype(int) - frames[0]).mean() < 4
    assert np.abs(decoded[0][:, 63].astype(int) - decoded[0][:, 62]).max() < 16


def test_an_exception_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), VideoWriter(tmp_path / "a.mp4", 5) as writer:
        writer.write(_frames(1, 16, 16)[0])
        assert not (tmp_path / "a.mp4").exists()
        raise RuntimeError("mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("explicit", [False, True])
def test_an_exception_at_the_end_leaves_nothing_behind(tmp_path, monkeypatch, explicit):
    with pytest.raises(OSError, match="full"), VideoWriter(tmp_path / "a.mp4", 5) as writer:
        writer.write(_frames(1, 16, 16)[0])
        monkeypatch.setattr(writer, "_mux", lambda _: (_ for _ in ()).throw(OSError("full")))
        if explicit:
            writer.close()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_if_asked(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.mp4"):
        VideoWriter(path, 5)
    assert path.read_text() == "mine"
    with VideoWriter(path, 5, overwrite=True) as writer:
        writer.write(_frames(1, 16, 16)[0])
    assert len(_decode(path)[1]) == 1


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="fps must be positive"):
        VideoWriter(tmp_path / "a.mp4", 0)
    with pytest.raises(ValueError, match=r"\.nonsense"):
        VideoWriter(tmp_path / "a.nonsense", 5)
    with pytest.raises(ValueError, match="not a single frame"), VideoWriter(tmp_path / "a.mp4", 5):
        pass
    writer = VideoWriter(tmp_path / "a.mp4", 5, (16, 16))
    with pytest.raises(ValueError, match="20x16 pixels, but the video is 16x16"):
        writer.write(np.zeros((16, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        writer.write(np.zeros((16, 16, 3)))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def _times(path):
    with av.open(str(path)) as container:
        frames = [frame.time for frame in container.decode(video=0)]
        return frames, container.duration / av.time_base


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 23.976, 8])
def test_time_stamps_and_the_length_of_the_last_frame_are_kept(tmp_path, name, fps):
    times = np.cumsum([0.0, *np.random.default_rng(3).choice([0.005, 0.02, 0.1, 0.7], 30)])
    with VideoWriter(tmp_path / name, fps) as writer:
        for frame, time in zip(_frames(31, 48, 64), times.tolist()):
            writer.write(frame, time)
        writer.close(end=times[-1] + 0.5)
    found, duration = _times(tmp_path / name)
    assert found == pytest.approx(times.tolist(), abs=1e-3)
    assert duration == pytest.approx(times[-1] + 0.5, abs=2e-3)


def test_equal_times_come_one_after_the_other(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        for frame, time in zip(_frames(4, 48, 64), (0.0, 0.2, 0.2, 0.1)):
            writer.write(frame, time)
        writer.write(_frames(1, 48, 64)[0])  # goes on at the nominal rate
    found, duration = _times(tmp_path / "a.mp4")
    assert found == pytest.approx([0.0, 0.2, 0.2001, 0.2002, 0.3002], abs=2e-5)
    assert duration == pytest.approx(0.4002, abs=1e-4)


def test_one_frame_lasts_as_long_as_wanted(tmp_path):
    for end, expected in ((None, 0.04), (2.0, 2.0)):
        with VideoWriter(tmp_path / "a.mp4", 25, overwrite=True) as writer:
            writer.write(_frames(1, 48, 64)[0], 0.0)
            writer.close(end=end)
        assert _times(tmp_path / "a.mp4") == ([0.0], pytest.approx(expected))


def test_avi_counts_frames_and_keeps_their_order(tmp_path):
    frames = _frames(41, 48, 64)[::20]
    with VideoWriter(tmp_path / "a.avi", 10) as writer:
        for frame, time in zip(frames, (0.0, 0.2, 0.5)):
            writer.write(frame, time)
    found, duration = _times(tmp_path / "a.avi")
    assert found == sorted(found) and duration == pytest.approx(0.6)
    decoded = np.array(_decode(tmp_path / "a.avi")[1], int)
    assert np.abs(decoded - frames).mean() < 4


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov"])
@pytest.mark.parametrize(
    "height, width, tag",
    [(720, 1280, 1), (1280, 720, 1), (544, 1280, 1), (577, 721, 1), (576, 720, 6), (47, 63, 6)],
)
def test_colours_are_tagged_and_come_out_as_they_were_drawn(tmp_path, name, height, width, tag):
    """HD was BT.601 without a tag, which players take for BT.709: (17, 159, 56) was shown."""
    drawn = np.empty((height, width, 3), np.uint8)
    drawn[:, : width // 2], drawn[:, width // 2 :] = (30, 180, 60), (200, 40, 40)
    with VideoWriter(tmp_path / name, 25) as writer:
        for _ in range(3):
            writer.write(drawn)
    with av.open(str(tmp_path / name)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (tag, 1, 1)
        assert codec.color_range == 1  # limited
        frame = next(container.decode(video=0))
        luma = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(
            -1, frame.planes[0].line_size
        )
    weights = {1: (0.2126, 0.7152, 0.0722), 6: (0.299, 0.587, 0.114)}[tag]
    expected = 16 + 219 * np.dot(weights, (30, 180, 60)) / 255
    assert np.median(luma[:height, : width // 3]) == pytest.approx(expected, abs=1)
    with VideoFileReader(tmp_path / name) as reader:
        shown = reader.read([0.04])[0][:height, :width]
    np.testing.assert_allclose(np.median(shown[:, : width // 3], (0, 1)), (30, 180, 60), atol=2)
    np.testing.assert_allclose(np.median(shown[:, -width // 3 :], (0, 1)), (200, 40, 40), atol=2)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov"])
@pytest.mark.parametrize("ratio", [Fraction(16, 9), Fraction(853, 720), Fraction(9, 16), 1])
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_the_shape_of_pixels_is_written(tmp_path, name, ratio, size):
    with VideoWriter(tmp_path / name, 5, sample_aspect_ratio=ratio) as writer:
        writer.write(_frames(1, *size)[0])
    with VideoFileReader(tmp_path / name) as reader:
        assert reader.sample_aspect_ratio == ratio
        assert (reader.height, reader.width) == (48, 64)


def test_a_full_disk_is_said_with_the_folder(tmp_path, monkeypatch):
    writer = VideoWriter(tmp_path / "out.mp4", 10)

    def fail(packets):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    class FullContainer:
        mux, close = staticmethod(fail), writer._container.close

    monkeypatch.setattr(writer, "_container", FullContainer)
    with pytest.raises(OSError, match="the disk is full") as told, writer:
        for number in range(200):
            writer.write(np.full((48, 64, 3), number, np.uint8))
    assert told.value.filename == str(tmp_path) and told.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
