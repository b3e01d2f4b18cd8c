import cv2
import numpy as np
import pytest

from tubedet.data.validation.checked_dataset import PixelBoxes
from tubedet.data.validation.media_checks import check_media


@pytest.fixture
def record(tmp_path, write_video):
    """Function which makes a dataset dict of a video of 3 seconds that begins with second 900."""
    write_video(tmp_path / "film.mp4", 90, gop=10)

    def make(second, name="film.mp4", **more):
        return {
            "video_id": "film",
            "video": str(tmp_path / name),
            "timestamp": float(second),
            "fps": 30.0,
            "start_second": 900.0,
            **more,
        }

    return make


def found(records, **options):
    return [(p.kind, p.message) for p in check_media(records, **options)]


def test_good_media(record):
    records = [record(s, height=48, width=64) for s in (900, 901, 902, 902.98)]
    assert found(records, every_key_frame=True, jobs=2) == []


def test_missing_short_and_wrong_size(record, tmp_path):
    (tmp_path / "empty.mp4").touch()
    problems = check_media(
        [
            record(901, "gone.mp4"),
            record(902, "gone.mp4"),
            record(901, "empty.mp4"),
            record(901, height=64, width=48),
            *(record(second) for second in (903.2, 950, 960)),
        ]
    )
    assert [(p.severity, p.kind, p.file.rpartition("/")[2], p.message) for p in problems] == [
        ("error", "media", "empty.mp4", "the file is empty"),
        ("error", "size", "film.mp4", "frames of 64x48 pixels, the data set says 48x64"),
        (
            "error",
            "media",
            "film.mp4",
            "no frame from 50.000 s on: the video is 3.000 s long (and 1 more of its key frames)",
        ),
        (
            "error",
            "missing-media",
            "gone.mp4",
            f"there is no video {tmp_path}/gone with one of the endings .mp4, .mkv, .webm, .avi, "
            ".mov, .m4v, .mpg and no folder of that name with frames; 2 key frames need it",
        ),
    ]


def test_boxes_in_pixels_must_be_within_the_frames(record):
    far = [[0, 0, 64, 48], [0, 0, 65, 49], [60, 0, 66, 9], [0, 5, 9, 700]]
    boxes = PixelBoxes("rows.csv", np.array([3, 4, 7, 9]), np.array(far, float))
    records = [record(second, pixel_boxes=boxes) for second in (900, 901)]
    assert [str(problem) for problem in check_media(records)] == [
        f"error: rows.csv:{line}: x2 = {x2}, y2 = {y2}, but the frames of the video have 64x48 "
        "pixels [out-of-range]"
        for line, x2, y2 in ((7, 66, 9), (9, 9, 700))
    ]


def test_a_time_beyond_all_numbers_is_behind_the_end(record):
    ((kind, message),) = found([record(1e30)])
    assert kind == "media" and message.endswith("s on: the video is 3.000 s long")


def test_damage_between_is_found_when_every_key_frame_is_decoded(record, tmp_path):
    for number in range(90):
        image = np.full((48, 64, 3), number, np.uint8)
        (tmp_path / "frames").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "frames" / f"{number:06d}.png"), image)
    (tmp_path / "frames/000030.png").write_bytes(b"nothing")
    records = [record(second, "frames") for second in (900, 901, 901.5, 902, 902.5)]
    assert found(records) == []
    ((kind, message),) = found(records, every_key_frame=True)
    assert kind == "media" and "000030.png: not a readable image" in message
    (tmp_path / "frames/000030.png").unlink()
    ((kind, message),) = found(records)
    assert kind == "media" and message.startswith("frame 000030.png is missing")


def test_frame_numbers_count_stored_frames(record):
    assert found([record(0, frame_number=90)]) == []
    ((kind, message),) = found([record(0, frame_number=91)])
    assert kind == "media" and message == "no frame number 91: the video has 90 frames"
