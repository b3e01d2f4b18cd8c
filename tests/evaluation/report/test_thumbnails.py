"""Pictures of key frames with a box."""

import cv2
import numpy as np
import pytest

from tubedet.evaluation.error_examples import Counterpart, Example
from tubedet.evaluation.report.thumbnails import draw_thumbnails


@pytest.fixture
def folder(tmp_path):
    """Ten frames 120x60 whose grey level is twenty times their number."""
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((60, 120, 3), 20 * number, np.uint8))
    return tmp_path


def example(timestamp, box=(0.25, 0.25, 0.75, 0.75), video="film"):
    return Example(video, timestamp, "sit", box, 0.5, "")


def decoded(picture):
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)


def test_the_right_frame_with_its_box(folder):
    record = {"video": str(folder), "fps": 10.0, "timestamp": 900.5, "start_second": 900.0}
    by_number = {"video": str(folder), "fps": 10.0, "frame_number": 3}
    records = {("film", 900.5): record, ("film", 3.0): by_number}
    pictures = draw_thumbnails([example(3.0), example(900.5), example(901.0)], records, width=240)
    assert pictures[2] is None
    for picture, grey in zip(pictures[:2], (40, 100)):
        image = decoded(picture)
        assert image.shape == (120, 240, 3)
        assert np.abs(image[5:20, 5:20].astype(int) - grey).max() <= 4
        assert np.abs(image[50:70, 100:140].astype(int) - grey).max() <= 4
        red_minus_blue = image[..., 2].astype(int) - image[..., 0]
        for row, column in ((30, 120), (89, 120), (60, 60), (60, 179)):
            assert red_minus_blue[row - 2 : row + 3, column - 2 : column + 3].max() > 80


def test_the_nearest_box_is_drawn_in_the_other_colour(folder):
    records = {("film", 1.0): {"video": str(folder), "fps": 10.0, "frame_number": 1}}
    boxes = (0.1, 0.1, 0.4, 0.9), (0.6, 0.1, 0.9, 0.9)
    for is_groundtruth in (False, True):
        shown = Example(
            "film",
            1.0,
            "sit",
            boxes[0],
            0.5,
            "",
            is_groundtruth=is_groundtruth,
            nearest=Counterpart(boxes[1], "sit"),
        )
        (picture,) = draw_thumbnails([shown], records, width=240)
        image = decoded(picture).astype(int)
        red_minus_blue = image[60, :, 2] - image[60, :, 0]
        own, other = (
            red_minus_blue[place - 3 : place + 4] * (-1 if is_groundtruth else 1)
            for place in (24, 143)
        )
        assert own.max() > 80 and other.min() < -80


def test_boxes_outside_of_the_frame_are_clipped(folder):
    records = {("film", 1.0): {"video": str(folder), "fps": 10.0, "frame_number": 1}}
    (picture,) = draw_thumbnails([example(1.0, (-5, -0.2, 7, 3))], records)
    assert decoded(picture).shape == (140, 280, 3)


def test_unreadable_videos_are_told_once(folder, tmp_path, caplog):
    (tmp_path / "4.png").write_bytes(b"broken")
    records = {
        ("film", float(n)): {"video": str(folder), "fps": 10.0, "frame_number": n} for n in (5, 6)
    }
    absent = {"video": str(tmp_path / "absent.mp4"), "fps": 10.0, "frame_number": 1}
    records["other", 1.0] = absent
    examples = [example(5.0), example(6.0), example(1.0, video="other")]
    assert draw_thumbnails(examples, records) == [None, None, None]
    assert len(caplog.records) == 1
    assert "No pictures of 2 videos" in caplog.text and "4.png" in caplog.text
