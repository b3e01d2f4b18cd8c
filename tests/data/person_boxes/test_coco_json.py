"""COCO json with person boxes, that of AlphAction among it."""

import json
from pathlib import Path

import numpy as np
import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import read_person_boxes

FILES = Path(__file__).parents[2] / "fixtures/box_files"
EXPECTED = json.loads((FILES / "expected.json").read_text())["alphaction"]
ANNOTATIONS = FILES / "alphaction_annotations.json"
IMAGE = {"id": 1, "width": 200, "height": 100}
BOX = {"image_id": 1, "bbox": [20, 10, 100, 40], "score": 0.5, "category_id": 1}


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def check_alphaction(boxes, entries):
    """Compare boxes by the rules of AlphAction's data set: last pixels, cut at the border."""
    found = 0
    for entry in entries:
        width, height = entry["size_wh"]
        rows = boxes.rows_at(entry["movie"], entry["timestamp"])
        pixels = boxes.boxes[rows] * (width, height, width, height) - (0, 0, 1, 1)
        pixels = pixels.clip(0, (width - 1, height - 1) * 2)
        kept = (pixels[:, :2] < pixels[:, 2:]).all(axis=1)
        np.testing.assert_allclose(pixels[kept], entry["boxes_xyxy"], atol=1e-9)
        if "scores" in entry:
            assert boxes.scores[rows][kept].tolist() == entry["scores"]
        if "action_ids" in entry:
            actions = [list(a) for a, k in zip(boxes.actions[rows], kept) if k]
            assert actions == entry["action_ids"]
        found += kept.sum()
    return found


def test_boxes_of_alphaction_are_those_of_its_own_reader():
    boxes = read_person_boxes(FILES / "alphaction_boxes.json", images=ANNOTATIONS)
    assert boxes.format == "coco" and boxes.in_seconds and not boxes.in_pixels
    assert len(boxes) == 11
    assert boxes.boxes[0] == pytest.approx([23.15 / 480, 56.11 / 360, 56.25 / 480, 186.92 / 360])
    confident = boxes.with_scores_from(0.8)
    assert check_alphaction(confident, EXPECTED["test_0.8"]) == 4
    assert len(confident) == 5  # one lies left of the frame


def test_annotations_of_alphaction_have_actions_and_the_score_one():
    boxes = read_person_boxes(ANNOTATIONS)
    assert check_alphaction(boxes, EXPECTED["train"]) == len(boxes) == 10
    assert set(boxes.scores) == {1.0}
    assert ("1j20qq1JyX4", 903.0) in boxes.moments  # an image without a box


def test_results_need_the_json_with_their_images():
    with pytest.raises(AnnotationError, match="give the one with 'images', --boxes-images FILE"):
        read_person_boxes(FILES / "alphaction_boxes.json")


def test_frames_count_from_one_whatever_the_file_counts(tmp_path):
    images = [{**IMAGE, "video_id": "walk.mp4", "frame_index": 0}]
    path = write(tmp_path / "boxes.json", {"images": images, "annotations": [BOX]})
    boxes = read_person_boxes(path)
    assert not boxes.in_seconds and boxes.times.tolist() == [1.0]
    assert boxes.videos == ("walk",) and boxes.scores.tolist() == [0.5]
    assert boxes.boxes.tolist() == [[0.1, 0.1, 0.6, 0.5]]
    assert read_person_boxes(path, first_frame=1).times.tolist() == [0.0]


def test_names_of_pictures_tell_video_and_frame(tmp_path):
    images = [{**IMAGE, "file_name": "day1/walk/img_00012.jpg"}]
    path = write(tmp_path / "boxes.json", {"images": images, "annotations": [BOX]})
    boxes = read_person_boxes(path)
    assert boxes.videos == ("day1/walk",) and boxes.times.tolist() == [12.0]


def test_a_list_of_videos_names_them(tmp_path):
    content = {
        "videos": [{"id": 7, "name": "walk.mp4"}],
        "images": [{**IMAGE, "video_id": 7, "frame_id": 4}],
        "annotations": [{**BOX, "track_id": 3}],
    }
    boxes = read_person_boxes(write(tmp_path / "boxes.json", content))
    assert boxes.videos == ("walk",) and boxes.track_ids.tolist() == [3] and boxes.has_tracks


def test_only_persons_count(tmp_path):
    images = [{**IMAGE, "video": "walk", "timestamp": 2.5}]
    rows = [BOX, {**BOX, "category_id": 3}, {**BOX, "iscrowd": 1}]
    boxes = read_person_boxes(
        write(tmp_path / "boxes.json", {"images": images, "annotations": rows})
    )
    assert len(boxes) == 1
    assert dict(boxes.remarks) == {
        "boxes of other categories than person: left out": 1,
        "crowds (iscrowd): left out": 1,
    }
    categories = [{"id": 3, "name": "Person"}, {"id": 1, "name": "car"}]
    content = {"images": images, "annotations": rows[:2], "categories": categories}
    assert len(read_person_boxes(write(tmp_path / "other.json", content))) == 1


def test_the_actions_of_a_person_are_one_box_with_the_highest_score(tmp_path):
    content = {
        "categories": [{"id": 1, "name": "walk"}, {"id": 2, "name": "wave"}],
        "images": [{**IMAGE, "video_id": "clip", "timestamp": 2.5}],
        "annotations": [
            {**BOX, "track_id": 0},
            {**BOX, "category_id": 2, "score": 0.75, "track_id": 0},
            {**BOX, "track_id": 1, "bbox": [0, 0, 10, 10]},
        ],
    }
    boxes = read_person_boxes(write(tmp_path / "clip.coco.json", content))
    assert boxes.scores.tolist() == [0.75, 0.5] and boxes.track_ids.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("image", "row", "message"),
    [
        ({}, {}, r"images\[0\] has no frame_index, frame, frame_id, which say when it is"),
        ({"timestamp": 1}, {}, r"images\[0\] has no movie, video_id, video, which say of which"),
        ({"timestamp": -1, "video": "a"}, {}, r"images\[0\] has the time -1, expected one from 0"),
        ({"timestamp": 1, "video": "a"}, {"score": 7}, r"annotations\[0\]: the score 7, expected"),
        ({"timestamp": 1, "video": "a"}, {"image_id": 2}, r"has the image_id 2, which no image of"),
        ({"timestamp": 1, "video": "a"}, {"bbox": [1, 2]}, r"bbox is \[1, 2\], expected 4 numbers"),
        ({"timestamp": 1, "video": "a", "width": 0}, {}, r"images\[0\] has the size 0x100"),
    ],
)
def test_fault_a_wrong_entry_is_named(tmp_path, image, row, message):
    content = {"images": [{**IMAGE, **image}], "annotations": [{**BOX, **row}]}
    path = write(tmp_path / "boxes.json", content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_person_boxes(path)
    assert str(caught.value).startswith(f"{path}: ")
