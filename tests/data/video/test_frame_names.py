import numpy as np
import pytest

from tubedet.data.video import frame_names
from tubedet.data.video.frame_names import FrameGapError


@pytest.fixture
def listed(tmp_path):
    """Function which makes files of these names and lists them as frames."""

    def make(*names):
        for name in names:
            (tmp_path / name).touch()
        found = frame_names.sorted_frame_names(str(tmp_path), tmp_path.stat().st_mtime_ns)
        return [bytes(name).decode() for name in found]

    return make


def test_numbers_count_whatever_their_width(listed):
    names = [f"f{n}.jpg" for n in range(8, 13)]
    assert listed(*sorted(names)) == names


def test_equal_steps_are_no_gap(listed):
    names = [f"{n:05d}.png" for n in (100, 105, 110, 115)]
    assert listed(*reversed(names)) == names


def test_other_names_are_sorted_as_they_are(listed):
    names = ["a.jpg", "b7.jpg", "b9.jpg", "c.png"]
    assert listed("b9.jpg", "c.png", "a.jpg", "b7.jpg", "notes.txt", "._a.jpg") == names


@pytest.mark.parametrize("missing", [2, 3, 50, 99])
def test_a_missing_frame_is_named(listed, missing):
    names = [f"my film_{n:06d}.jpg" for n in range(1, 101) if n != missing]
    message = rf"frame my film_{missing:06d}\.jpg is missing: .* from {missing - 1} to"
    with pytest.raises(FrameGapError, match=message):
        listed(*names)


def test_a_missing_frame_among_names_without_padding(listed):
    with pytest.raises(FrameGapError, match=r"frame f10\.jpg is missing"):
        listed(*(f"f{n}.jpg" for n in range(1, 30) if n != 10))


def test_missing_ends_cannot_be_seen(listed):
    assert len(listed(*(f"{n:06d}.jpg" for n in range(5, 20)))) == 15


def test_names_of_a_whole_film_take_little_memory():
    names = [f"-5KQ66BBWC4_{n:06d}.jpg" for n in range(1, 27031)]
    assert frame_names._are_consecutive([name.encode() for name in names])
    assert np.array(names, dtype=np.bytes_).nbytes < 1e6
