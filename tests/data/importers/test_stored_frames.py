import pytest

from tubedet.data import AnnotationError
from tubedet.data.importers.stored_frames import split_number, stored_numbers


@pytest.fixture
def folder(tmp_path):
    frames = tmp_path / "gym"
    frames.mkdir()
    for number in range(0, 50, 5):
        (frames / f"{number:05}.jpg").touch()
    return frames


def test_frames_are_found_by_their_names_whatever_the_ending(folder):
    assert stored_numbers(["00000.jpg", "00045.PNG", "00005.jpg"], folder) == [1, 10, 2]


def test_a_folder_with_other_frames_tells_nothing(folder, tmp_path):
    assert stored_numbers(["frame_000000.png"], folder) is None
    assert stored_numbers(["00000.jpg"], tmp_path / "absent") is None
    assert stored_numbers(["00000.jpg"], tmp_path) is None  # has no frames itself


def test_a_folder_that_lacks_a_frame_is_refused(folder):
    with pytest.raises(AnnotationError, match=r"gym: there is no frame 00007\.jpg"):
        stored_numbers(["00005.jpg", "00007.jpg"], folder)


def test_a_folder_with_a_gap_is_refused(folder):
    (folder / "00010.jpg").unlink()
    with pytest.raises(AnnotationError, match=r"gym: frame 00010\.jpg is missing"):
        stored_numbers(["00005.jpg"], folder)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("frame_000012.PNG", ("frame_", 12)),
        ("day1/0007.jpg", ("day1/", 7)),
        ("a1.b2/c3d4.jpg", ("a1.b2/c3d", 4)),
        ("gym.jpg", None),
        ("", None),
        ("7_last.jpg", None),
    ],
)
def test_the_number_at_the_end_of_a_name(name, split):
    assert split_number(name) == split
