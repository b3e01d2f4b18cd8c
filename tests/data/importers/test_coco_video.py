import copy
import csv
import json

import pytest
from coco_samples import COCO_VID, CVAT, TAO

from tubedet.cli.running import run_command
from tubedet.data.datasets.custom import load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml


def run(tmp_path, content, *options, first_frame="0"):
    (tmp_path / "videos").mkdir(exist_ok=True)
    path = tmp_path / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    arguments = [str(path), "--videos", str(tmp_path / "videos"), "--fps", "25"]
    arguments += ["--output", str(tmp_path / "out/my.yaml")]
    if first_frame is not None:
        options = ("--first-frame", first_frame, *options)
    return run_command("import", ["coco-video", *arguments, *options])


def test_csv_and_yaml(tmp_path, capsys):
    assert run(tmp_path, COCO_VID) == 0
    assert "4 boxes in 2 videos, 2 actions" in capsys.readouterr().out
    with open(tmp_path / "out/my.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["day1/gym", "1", "10", "20", "40", "60.5", "2", "1"],
        ["day1/gym", "2", "11", "20", "41", "60", "1", "1"],
        ["day1/gym", "2", "11", "20", "41", "60", "2", "1"],
        ["day1/gym", "4"],
        ["hall", "10", "0", "0", "5", "5", "1", "0"],
    ]
    own = read_custom_yaml(tmp_path / "out/my.yaml")
    assert own.classes == {1: "wave", 2: "run"} and own.fps == 25 and not own.exclusive
    assert (own.boxes, own.timestamps) == ("pixels", "frames")
    videos = load_tubes(own)
    assert videos["day1/gym"].key_frames == [1, 2, 4]
    assert [(t.label, t.frames.tolist()) for t in videos["day1/gym"].tubes] == [
        (0, [2]),
        (1, [1, 2]),
    ]


def test_first_frame_of_number_one(tmp_path, capsys):
    content = copy.deepcopy(COCO_VID)
    assert run(tmp_path, content, first_frame="1") == 2
    assert "images[0] has the frame 0, but the first one is 1" in capsys.readouterr().err
    for number, image in enumerate(content["images"], start=1):
        image["frame"] = number
    assert run(tmp_path, content, first_frame="1") == 0
    assert "hall,9," in (tmp_path / "out/my.csv").read_text()


def test_existing_files_are_kept(tmp_path, capsys):
    assert run(tmp_path, COCO_VID) == 0
    before = (tmp_path / "out/my.csv").read_text()
    (tmp_path / "out/my.yaml").unlink()
    content = copy.deepcopy(COCO_VID)
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
        (("annotations", 0, "bbox"), [1, 2, -1, 4], "annotations[0] has the bbox [1, 2, -1, 4]"),
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
    content = copy.deepcopy(COCO_VID)
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


def rows_of(tmp_path):
    with open(tmp_path / "out/my.csv", newline="") as stream:
        return list(csv.reader(stream))


def changed(content, *changes):
    """A copy with other values at some places; None deletes."""
    content = copy.deepcopy(content)
    for where, value in changes:
        inner = content
        for key in where[:-1]:
            inner = inner[key]
        if value is None:
            del inner[where[-1]]
        else:
            inner[where[-1]] = value
    return content


def test_export_of_a_video_task_of_cvat_needs_the_name_of_the_video(tmp_path, capsys):
    # Fault import-cvat-coco: images without a video, numbers in file names, tracks in attributes.
    assert run(tmp_path, CVAT, first_frame=None) == 2
    error = capsys.readouterr().err
    assert "images[0] has no video_id" in error and "--video NAME" in error
    assert run(tmp_path, CVAT, "--video", "gym", first_frame=None) == 0
    assert "frames numbered by their file names, counted from 0 (3)" in capsys.readouterr().out
    assert rows_of(tmp_path) == [
        ["gym", "1", "136", "55", "200", "179", "1", "4"],
        # A turn of 90 degrees about the middle (169, 117).
        ["gym", "2", "107", "85", "231", "149", "1", "4"],
        ["gym", "3"],
    ]


def test_actions_in_attributes(tmp_path, capsys):
    options = ["--video", "gym", "--attribute", "action", "--attribute", "smiles"]
    options += ["--ignore", "__undefined__"]
    assert run(tmp_path, CVAT, *options, first_frame=None) == 0
    assert "2 actions: run, smiles" in capsys.readouterr().out
    assert [row[-2:] for row in rows_of(tmp_path)] == [["1", "4"], ["2", "4"], ["gym", "3"]]
    assert run(tmp_path, CVAT, "--video", "gym", "--attribute", "act", "--overwrite") == 2
    assert "no annotation with --attribute act; there are action, keyframe, occ" in (
        capsys.readouterr().err
    )
    # Without a place of their own, and several values; categories are not needed then.
    content = changed(
        CVAT,
        (("categories",), None),
        (("annotations", 0, "doing"), ["run", "talk"]),
        (("annotations", 1, "doing"), "run"),
    )
    assert run(tmp_path, content, "--video", "gym", "--attribute", "doing", "--overwrite") == 0
    assert [row[-2:] for row in rows_of(tmp_path)[:3]] == [["1", "4"], ["2", "4"], ["1", "4"]]


@pytest.mark.parametrize(
    ("numbers", "first_frame", "frames"),
    [
        ((0, 1, 2), None, ["1", "2", "3"]),
        ((30, 31, 32), None, ["31", "32", "33"]),  # a job in the middle of a task
        ((1, 2, 3), None, "how are frames counted? --first-frame 0 or 1"),
        ((1, 2, 3), "1", ["1", "2", "3"]),  # frames that ffmpeg wrote
        ((1, 2, 3), "0", ["2", "3", "4"]),
        ((0, 1, 2), "1", "images[0] has the frame 0, but the first one is 1"),
        ((0, 1, 1), None, "images[2] is frame 2 of 'gym' (from 1), as an image before it is"),
    ],
)
def test_numbers_in_file_names_of_cvat(tmp_path, capsys, numbers, first_frame, frames):
    names = [(("images", i, "file_name"), f"frame_{n:06}.png") for i, n in enumerate(numbers)]
    status = run(tmp_path, changed(CVAT, *names), "--video", "gym", first_frame=first_frame)
    if isinstance(frames, str):
        assert status == 2 and frames in capsys.readouterr().err
    else:
        assert status == 0 and [row[1] for row in rows_of(tmp_path)] == frames


def test_the_folder_of_the_frames_tells_their_numbers(tmp_path, capsys):
    folder = tmp_path / "videos/gym"
    folder.mkdir(parents=True)
    for number in range(0, 30, 5):
        (folder / f"f{number:03}.jpg").touch()
    names = [(("images", i, "file_name"), f"x/f{n:03}.png") for i, n in enumerate((5, 10, 25))]
    assert run(tmp_path, changed(CVAT, *names), "--video", "gym", first_frame=None) == 0
    assert [row[1] for row in rows_of(tmp_path)] == ["2", "3", "6"]
    # Frames of an own key must be those of the folder; their first one need not be told then.
    keys = [(("images", i, "frame_id"), n) for i, n in enumerate((2, 3, 6))]
    content = changed(CVAT, *names, *keys)
    assert run(tmp_path, content, "--video", "gym", "--overwrite", first_frame=None) == 0
    assert [row[1] for row in rows_of(tmp_path)] == ["2", "3", "6"]
    assert run(tmp_path, content, "--video", "gym", "--overwrite", first_frame="0") == 2
    error = capsys.readouterr().err
    assert "images[0] has the frame_id 2, but x/f005.png is frame 2 (from 1) in " in error
    content["images"][2]["frame_id"] = 5
    assert run(tmp_path, content, "--video", "gym", "--overwrite", first_frame="1") == 2
    error = capsys.readouterr().err
    assert "images[2] has the frame_id 5, but x/f025.png is frame 6 (from 1) in " in error


@pytest.mark.parametrize("numbers", [(78, 79, 80), (0, 5, 10)])
def test_frames_that_are_counted_for_themselves_are_found_by_name_or_refused(
    tmp_path, capsys, numbers
):
    # The second half of a video, as ByteTrack's val_half.json; every fifth frame, as YouTube-VIS.
    changes = [(("images", i, "file_name"), f"gym/{n:06}.jpg") for i, n in enumerate(numbers)]
    changes += [(("images", i, "frame_id"), i + 1) for i in range(3)]
    content = changed(CVAT, *changes)
    assert run(tmp_path, content, "--video", "gym", first_frame="1") == 2
    error = capsys.readouterr().err
    assert "frame is it? With the frames in " in error and "it is found by its name" in error
    folder = tmp_path / "videos/gym"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:06}.jpg").touch()
    assert run(tmp_path, content, "--video", "gym", first_frame="1") == 0
    assert "frames found by their names; they are counted otherwise (3)" in capsys.readouterr().out
    assert [int(row[1]) for row in rows_of(tmp_path)] == [n + 1 for n in numbers]


def test_images_of_several_videos_are_not_taken_for_one(tmp_path, capsys):
    names = [
        (("images", i, "file_name"), name)
        for i, name in enumerate(("a/0.png", "a/1.png", "b/2.png"))
    ]
    assert run(tmp_path, changed(CVAT, *names), "--video", "gym") == 2
    assert "differ in more than the numbers of their file names" in capsys.readouterr().err
    content = changed(CVAT, *((("images", i, "video_id"), i // 2) for i in range(3)))
    assert run(tmp_path, content, "--video", "gym") == 2
    assert "images[2] is of a second video: --video is for files of one" in capsys.readouterr().err
    assert run(tmp_path, COCO_VID, "--video", "gym") == 2
    assert "has 2 videos: --video is for files of one" in capsys.readouterr().err


def test_shapes_without_a_track_are_persons_of_one_frame(tmp_path, capsys):
    content = changed(CVAT, (("annotations", 1, "attributes", "track_id"), None))
    content["annotations"].append({**content["annotations"][1], "id": 9})
    content["annotations"].append({**content["annotations"][1], "id": 9, "image_id": 3})
    assert run(tmp_path, content, "--video", "gym", first_frame=None) == 0
    assert "annotations without a track: persons of one frame (3)" in capsys.readouterr().out
    assert [(row[1], row[-1]) for row in rows_of(tmp_path)] == [("1", "4"), ("2", "5"), ("3", "6")]
    del content["annotations"][0]
    assert run(tmp_path, content, "--video", "gym", "--overwrite", first_frame=None) == 2
    assert "has no annotation with a track_id or instance_id" in capsys.readouterr().err


def test_single_images_are_refused_with_what_to_do(tmp_path, capsys):
    content = changed(CVAT, *((("annotations", i, "attributes"), None) for i in range(2)))
    assert run(tmp_path, content) == 2
    assert "single images are no video" in capsys.readouterr().err
    assert run(tmp_path, content, "--video", "gym") == 2
    assert "annotations[0] has no track_id or instance_id" in capsys.readouterr().err


def test_tao_counts_by_frame_index_and_is_not_exhaustive(tmp_path, capsys):
    assert run(tmp_path, TAO) == 0
    output = capsys.readouterr().out
    # frame_id is the place among the annotated images only; frame 450 may have somebody, too.
    assert rows_of(tmp_path) == [
        ["train/YFCC/v_1", "391", "600", "97.5", "640", "398.5", "1", "6"],
        ["train/YFCC/v_1", "421", "1", "2", "4", "6", "1", "6"],
    ]
    assert "images without a box: left out" in output and "cut (1)" in output
    assert run(tmp_path, TAO, first_frame=None) == 2
    assert "images[0] and others: how are frames counted?" in capsys.readouterr().err


def test_a_frame_zero_tells_how_frames_are_counted(tmp_path):
    assert run(tmp_path, COCO_VID, first_frame=None) == 0
    assert [row[1] for row in rows_of(tmp_path)] == ["1", "2", "2", "4", "10"]
    own = {"annotations": [COCO_VID["annotations"][3]], "categories": COCO_VID["categories"]}
    own["annotations"][0]["frame"] = 0
    assert run(tmp_path, own, "--overwrite", first_frame=None) == 0
    assert rows_of(tmp_path) == [["8", "1", "0", "0", "5", "5", "1", "0"]]


def test_boxes_of_segmentations_and_boxes_without_an_area(tmp_path, capsys):
    content = changed(
        COCO_VID,
        (("annotations", 0, "bbox"), None),
        (("annotations", 0, "segmentation"), [[10, 20, 40, 60.5, 12, 30]]),
        (("annotations", 2), {**COCO_VID["annotations"][2], "image_id": 102, "bbox": [5, 5, 0, 9]}),
    )
    assert run(tmp_path, content) == 0
    output = capsys.readouterr().out
    assert "segmentations without a bbox: their enclosing boxes are taken (1)" in output
    assert "boxes without an area: left out, and no frame is empty for them (1)" in output
    assert "crowds (iscrowd): left out, and no frame is empty for them (1)" in output
    rows = rows_of(tmp_path)
    assert rows[0] == ["day1/gym", "1", "10", "20", "40", "60.5", "2", "1"]
    assert [row[1] for row in rows if row[0] == "day1/gym"] == ["1", "2", "4"]


def test_videos_without_an_annotation_are_not_said_to_be_empty(tmp_path, capsys):
    content = changed(COCO_VID)
    content["videos"].append({"id": 9, "name": "later"})
    content["images"] += [{"id": 200 + i, "video_id": 9, "frame": i} for i in range(5)]
    assert run(tmp_path, content) == 0
    assert "videos without an annotation: left out" in capsys.readouterr().out
    assert {row[0] for row in rows_of(tmp_path)} == {"day1/gym", "hall"}


@pytest.mark.parametrize(
    ("name", "video_id"),
    [
        ("gym.mp4", "gym"),
        ("day.1/gym", "day.1/gym"),
        ("MOT17-02.5", "MOT17-02.5"),
        ("day\\gym.AVI", "day/gym"),
        ("/home/me/gym.mp4", "gym"),
        ("C:\\films\\gym.mkv", "gym"),
    ],
)
@pytest.mark.parametrize("key", ["name", "file_name"])
def test_names_of_videos(tmp_path, name, video_id, key):
    content = changed(COCO_VID, (("videos", 0), {"id": 7, key: name}))
    assert run(tmp_path, content) == 0
    assert rows_of(tmp_path)[0][0] == video_id


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("videos", 1, "name"), "day1/gym.avi", "videos[0] is called 'day1/gym', as another"),
        (("annotations", 0, "track_id"), -1, "annotations[0] has the track -1"),
        (("images", 0, "id"), [1], "images[0] has no id"),
        (("images", 1, "frame_id"), 0, "images[1] is frame 1 of 'day1/gym' (from 1), as an image"),
        (("images", 0, "width"), "wide", "images[0] has the width 'wide'"),
        (("images", 0, "frame"), None, "images[0] has no frame_index, frame, frame_id, and no num"),
        (("annotations", 0, "bbox"), None, "annotations[0] has no bbox or segmentation"),
        (("annotations", 3, "frame"), None, "annotations[3] has no frame_index or frame or frame"),
        (("annotations",), None, "'annotations' is missing or empty"),
        (("categories",), None, "'categories' is missing or empty"),
    ],
)
def test_further_errors_name_the_entry(tmp_path, capsys, where, value, message):
    content = changed(COCO_VID, (("images", 0, "height"), 5), (("images", 0, "width"), 5))
    assert run(tmp_path, changed(content, (where, value))) == 2
    assert message in capsys.readouterr().err


def test_images_of_different_sizes_tell_no_size(tmp_path, capsys):
    sizes = [(("images", i, side), 20 + i) for i in range(2) for side in ("width", "height")]
    assert run(tmp_path, changed(COCO_VID, *sizes)) == 0
    assert "videos with images of different sizes (1)" in capsys.readouterr().out
    assert rows_of(tmp_path)[0][2:6] == ["10", "20", "40", "60.5"]
