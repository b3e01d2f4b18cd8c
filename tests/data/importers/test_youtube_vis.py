import copy
import csv
import json

import pytest
from coco_samples import YOUTUBE_VIS, YOUTUBE_VIS_BOX

from tubedet.cli.running import run_command
from tubedet.data import AnnotationError
from tubedet.data.datasets.custom import load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.coco_video import read_coco_video
from tubedet.data.importers.labels import ImportOptions


def read(tmp_path, content, **options):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return read_coco_video(path, ImportOptions(videos=tmp_path / "videos", **options))


def folder_of(tmp_path, names):
    folder = tmp_path / "videos/juggling"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def placed(labels):
    return [(box.time, box.box, box.actions, box.person_id) for box in labels.boxes]


def test_boxes_of_each_frame_and_frames_where_all_are_null(tmp_path):
    # Fault import-ytvis: videos with file_names, annotations with bboxes.
    labels = read(tmp_path, YOUTUBE_VIS)
    corners, moved = (135, 55, 199, 179), (140, 55, 204.5, 179)
    assert placed(labels) == [
        (1, corners, ("juggle",), 7),
        (3, moved, ("juggle",), 7),
        (1, (10, 20, 12, 50), ("walk",), 8),  # of the mask
        (3, corners, ("walk",), 8),
    ]
    assert labels.class_names == ["juggle", "walk"]
    assert labels.sizes == {"juggling": (320, 240), "JPEGImages/ab": (64, 48)}
    # Nobody has annotated the second video.
    assert labels.empty == {("juggling", 2), ("juggling", 4)}
    assert labels.remarks == {
        "videos whose frames are counted as the file lists them": 2,
        "segmentations without a bbox: their enclosing boxes are taken": 1,
        "videos without an annotation: left out, as nobody may have looked at them": 1,
    }


def test_written_data_set_can_be_loaded(tmp_path, capsys):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(YOUTUBE_VIS))
    folder_of(tmp_path, [f"{n:05}.jpg" for n in (0, 5, 10, 15)])
    arguments = ["--videos", str(tmp_path / "videos"), "--output", str(tmp_path / "my.yaml")]
    assert run_command("import", [str(path), *arguments, "--fps", "6"]) == 0
    assert "format coco-video, recognised by the key 'categories'" in capsys.readouterr().out
    with open(tmp_path / "my.csv", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["juggling", "1", "135", "55", "199", "179", "1", "7"],
            ["juggling", "1", "10", "20", "12", "50", "2", "8"],
            ["juggling", "2"],
            ["juggling", "3", "140", "55", "204.5", "179", "1", "7"],
            ["juggling", "3", "135", "55", "199", "179", "2", "8"],
            ["juggling", "4"],
        ]
    videos = load_tubes(read_custom_yaml(tmp_path / "my.yaml"))
    assert videos["juggling"].key_frames == [1, 2, 3, 4]
    assert sorted((t.label, t.frames.tolist()) for t in videos["juggling"].tubes) == [
        (0, [1]),
        (0, [3]),
        (1, [1]),
        (1, [3]),
    ]


@pytest.mark.parametrize(
    ("step", "frames"),
    [
        (5, [1, 3, 1, 3]),  # as the archive train.zip has them
        (1, [1, 11, 1, 11]),  # all frames
    ],
)
def test_the_folder_of_the_frames_tells_their_numbers(tmp_path, step, frames):
    folder_of(tmp_path, [f"{n:05}.jpg" for n in range(0, 20, step)])
    labels = read(tmp_path, YOUTUBE_VIS)
    assert [box.time for box in labels.boxes] == frames
    assert labels.remarks["videos whose frames are counted as the file lists them"] == 1  # video 2


def test_chosen_frames_of_a_video_file_are_refused(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/juggling.mp4").touch()
    with pytest.raises(AnnotationError, match=r"videos\[0\] has file_names that are not numbered"):
        read(tmp_path, YOUTUBE_VIS)
    content = copy.deepcopy(YOUTUBE_VIS)
    content["videos"][0]["file_names"] = [f"juggling/{n}.jpg" for n in range(1, 5)]
    assert [box.time for box in read(tmp_path, content).boxes] == [1, 3, 1, 3]


def test_the_name_of_the_video_where_the_file_does_not_tell_it(tmp_path):
    content = copy.deepcopy(YOUTUBE_VIS)
    del content["videos"][1]
    content["videos"][0]["file_names"] = [f"{n}.jpg" for n in range(4)]
    with pytest.raises(AnnotationError, match=r"videos\[0\] has file_names without a folder: say"):
        read(tmp_path, content)
    assert {box.video_id for box in read(tmp_path, content, video="gym").boxes} == {"gym"}
    content["videos"][0]["name"] = "hall.mp4"
    assert {box.video_id for box in read(tmp_path, content).boxes} == {"hall"}


def test_crowds_and_boxes_without_an_area_leave_no_frame_empty(tmp_path):
    content = copy.deepcopy(YOUTUBE_VIS)
    content["annotations"][0]["bboxes"][1] = [5, 5, 0, 9]
    content["annotations"][1] |= {"iscrowd": 1, "bboxes": [None, None, None, YOUTUBE_VIS_BOX]}
    labels = read(tmp_path, content)
    assert [box.time for box in labels.boxes] == [1, 3]
    assert labels.unclear == {("juggling", 1), ("juggling", 2), ("juggling", 4)}
    assert labels.empty == set()
    assert labels.remarks["crowds (iscrowd): left out, and no frame is empty for them"] == 1
    assert labels.remarks["boxes without an area: left out, and no frame is empty for them"] == 1


def test_tracks_without_ids_are_numbered_in_their_order(tmp_path):
    content = copy.deepcopy(YOUTUBE_VIS)
    for annotation in content["annotations"]:
        del annotation["id"]
    assert [box.person_id for box in read(tmp_path, content).boxes] == [0, 0, 1, 1]


def test_actions_in_attributes(tmp_path):
    content = copy.deepcopy(YOUTUBE_VIS)
    content["annotations"][0]["attributes"] = {"action": ["run", "talk"], "fast": True}
    labels = read(tmp_path, content, attributes=("action", "fast"))
    assert [box.actions for box in labels.boxes] == [("run", "talk", "fast")] * 2 + [()] * 2
    assert labels.class_names == []


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (
            ("annotations", 0, "bboxes"),
            [YOUTUBE_VIS_BOX],
            r"annotations\[0\] has 1 bboxes, but its video has 4",
        ),
        (("annotations", 1, "segmentations"), [], r"annotations\[1\] has 0 segmentations, but"),
        (("annotations", 0, "bboxes"), None, r"annotations\[0\] has no bboxes or segmentations"),
        (
            ("annotations", 0, "bboxes", 2),
            [1, 2, 3],
            r"annotations\[0\].bboxes\[2\] is \[1, 2, 3\], expected 4 numbers",
        ),
        (("annotations", 0, "video_id"), 5, r"annotations\[0\] has the video_id 5, which no"),
        (("annotations", 1, "id"), 7, r"annotations\[1\] has the id 7, expected a number that no"),
        (("annotations", 1, "id"), -7, r"annotations\[1\] has the id -7, expected a number"),
        (("annotations", 1, "category_id"), 2, r"annotations\[1\] has the category_id 2, which"),
        (
            ("videos", 0, "file_names", 1),
            "juggling/00000.jpg",
            r"videos\[0\] has a file name twice",
        ),
        (("videos", 0, "file_names", 1), "else/1.jpg", r"videos\[0\] has file_names in several"),
        (("videos", 0, "file_names", 1), 5, r"videos\[0\].file_names\[1\] is no name of a file"),
        (("videos", 0, "file_names"), [], r"videos\[0\] has no file_names"),
        (("videos", 1, "file_names"), ["juggling/1.jpg"], r"videos\[1\] is called 'juggling', as"),
    ],
)
def test_errors_name_the_entry(tmp_path, where, value, message):
    content = copy.deepcopy(YOUTUBE_VIS)
    inner = content
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    with pytest.raises(AnnotationError, match=rf"instances\.json: {message}"):
        read(tmp_path, content)
