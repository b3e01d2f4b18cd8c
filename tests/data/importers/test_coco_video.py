import copy
import csv
import json

import pytest

from tubedet.cli.running import run_command
from tubedet.data.datasets.custom import load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml

CONTENT = {
    "videos": [{"id": 7, "file_name": "day1/gym.mp4"}, {"id": 8, "name": "hall"}],
    "images": [
        {"id": 100, "video_id": 7, "frame": 0},
        {"id": 101, "video_id": 7, "frame_id": 1},
        {"id": 102, "video_id": 7, "frame_id": 2},
    ],
    "annotations": [
        {"image_id": 100, "bbox": [10, 20, 30, 40.5], "category_id": 5, "track_id": 1},
        {"image_id": 101, "bbox": [11, 20, 30, 40], "category_id": 5, "track_id": 1},
        {"image_id": 101, "bbox": [11, 20, 30, 40], "category_id": 2, "instance_id": 1},
        {"video_id": 8, "frame": 9, "bbox": [0, 0, 5, 5], "category_id": 2, "track_id": 0},
        {"image_id": 102, "bbox": [0, 0, 9, 9], "category_id": 2, "track_id": 0, "iscrowd": 1},
    ],
    "categories": [{"id": 5, "name": "run"}, {"id": 2, "name": "wave"}],
}


def run(tmp_path, content, *options, first_frame="0"):
    (tmp_path / "videos").mkdir(exist_ok=True)
    path = tmp_path / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    arguments = [str(path), "--videos", str(tmp_path / "videos"), "--fps", "25"]
    arguments += ["--output", str(tmp_path / "out/my.yaml"), "--first-frame", first_frame]
    return run_command("import", ["coco-video", *arguments, *options])


def test_csv_and_yaml(tmp_path, capsys):
    assert run(tmp_path, CONTENT) == 0
    assert "4 boxes in 2 videos, 2 actions" in capsys.readouterr().out
    with open(tmp_path / "out/my.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["day1/gym", "1", "10", "20", "40", "60.5", "2", "1"],
        ["day1/gym", "2", "11", "20", "41", "60", "1", "1"],
        ["day1/gym", "2", "11", "20", "41", "60", "2", "1"],
        ["day1/gym", "3"],
        ["hall", "10", "0", "0", "5", "5", "1", "0"],
    ]
    own = read_custom_yaml(tmp_path / "out/my.yaml")
    assert own.classes == {1: "wave", 2: "run"} and own.fps == 25 and not own.exclusive
    assert (own.boxes, own.timestamps) == ("pixels", "frames")
    videos = load_tubes(own)
    assert videos["day1/gym"].key_frames == [1, 2, 3]
    assert [(t.label, t.frames.tolist()) for t in videos["day1/gym"].tubes] == [
        (0, [2]),
        (1, [1, 2]),
    ]


def test_first_frame_of_number_one(tmp_path, capsys):
    content = copy.deepcopy(CONTENT)
    assert run(tmp_path, content, first_frame="1") == 2
    assert "images[0] has the frame 0, but the first one is 1" in capsys.readouterr().err
    for number, image in enumerate(content["images"], start=1):
        image["frame"] = number
    assert run(tmp_path, content, first_frame="1") == 0
    assert "hall,9," in (tmp_path / "out/my.csv").read_text()


def test_existing_files_are_kept(tmp_path, capsys):
    assert run(tmp_path, CONTENT) == 0
    before = (tmp_path / "out/my.csv").read_text()
    (tmp_path / "out/my.yaml").unlink()
    content = copy.deepcopy(CONTENT)
    del content["annotations"][0]
    assert run(tmp_path, content) == 2
    assert "my.csv exists already" in capsys.readouterr().err
    assert (tmp_path / "out/my.csv").read_text() == before
    assert run(tmp_path, content, "--overwrite", "--exclusive") == 0
    assert (tmp_path / "out/my.csv").read_text() != before
    assert read_custom_yaml(tmp_path / "out/my.yaml").exclusive


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("annotations", 0, "bbox"), [1, 2, 0, 4], "annotations[0] has the bbox [1, 2, 0, 4]"),
        (
            ("annotations", 0, "bbox"),
            [1, 2, float("nan"), 4],
            "annotations[0].bbox is [1, 2, nan, 4], expected 4",
        ),
        (("annotations", 1, "category_id"), 3, "annotations[1] has the category_id 3"),
        (("annotations", 1, "category_id"), [3], "annotations[1] has no category_id"),
        (("annotations", 1, "image_id"), 3, "annotations[1] has the image_id 3"),
        (("annotations", 0, "track_id"), "a", "annotations[0] has the track_id 'a'"),
        (("annotations", 0, "track_id"), None, "annotations[0] has no track_id or instance_id"),
        (("annotations", 3, "video_id"), 9, "annotations[3] has the video_id 9"),
        (("annotations", 3), 9, "annotations[3] is no object"),
        (("annotations",), [], "'annotations' is missing or empty"),
        (("categories", 1, "name"), "run", "'categories' need different names"),
        (("categories",), {}, "categories is no list"),
        (("images", 0, "frame"), 3.0, "images[0] has the frame 3.0, expected a whole number"),
        (("images", 0, "frame"), 10**7, "has the frame 10000000, expected less than 10000000"),
        (("images", 2, "id"), 101, "images[2] has the id 101, which an entry before it has, too"),
        (("videos", 1, "id"), 7, "videos[1] has the id 7, which an entry before it has, too"),
        (("categories", 1, "id"), 5, "categories[1] has the id 5, which an entry before it has"),
        (("annotations", slice(0, 4)), [], "no box of a person with an action"),
    ],
)
def test_errors_name_the_entry(tmp_path, capsys, where, value, message):
    content = copy.deepcopy(CONTENT)
    inner = content
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    assert run(tmp_path, content) == 2
    error = capsys.readouterr().err
    assert "boxes.json: " in error and message in error
    assert not (tmp_path / "out").exists()


def test_a_number_too_long_for_python(tmp_path, capsys):
    assert run(tmp_path, f'{{"images": [{{"id": {"9" * 5000}}}]}}') == 2
    error = capsys.readouterr().err
    assert "boxes.json: no valid json: Exceeds the limit" in error
    assert error.endswith(" 5000 digits\n") and error.count("\n") == 1


@pytest.mark.parametrize("text", ['{"a": [1,\n}', "[]", "[" * 100_000])
def test_other_files_are_refused_with_their_line(tmp_path, capsys, text):
    assert run(tmp_path, text) == 2
    assert "boxes.json:" in capsys.readouterr().err
