from fractions import Fraction

import av
import numpy as np
import pytest

from tubedet.visualization import VideoWriter


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
