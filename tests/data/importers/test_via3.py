import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_damage import damaged_bytes, damaged_json, dumps, fuzz

from tubedet.cli.running import run_command
from tubedet.data.annotations.text import AnnotationError
from tubedet.data.datasets.custom import load_key_frames
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.labels import ImportOptions
from tubedet.data.importers.selection import select
from tubedet.data.importers.via3 import read_via3

HEAD = """\
# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)
# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
"""
ROW = '"1_a","[""gym.avi""]",0,"[1.0]","[2,77,115,307,403]","{""1"":""0""}"\n'
ATTRIBUTES = {
    "1": {
        "aname": "head",
        "anchor_id": "FILE1_Z0_XY1",
        "type": 2,
        "options": {"0": "talk", "1": "bow", "2": "other"},
    },
    "2": {
        "aname": "body",
        "anchor_id": "FILE1_Z0_XY1",
        "type": 3,
        "options": {"0": "stand", "1": "sit", "2": "other"},
    },
    "9": {"aname": "who", "anchor_id": "FILE1_Z0_XY1", "type": 1, "options": {"_": ""}},
}


def project(names=("1_000031.jpg", "1_000061.jpg", "1_000091.jpg"), attributes=ATTRIBUTES):
    """As the custom-AVA repositories write it: one picture a second of 30 a second."""
    ids = [str(number) for number, _ in enumerate(names, start=1)]
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "vid_list": ids},
        "config": {},
        "attribute": copy.deepcopy(attributes),
        "file": {k: {"fid": k, "fname": name, "type": 2} for k, name in zip(ids, names)},
        "view": {k: {"fid_list": [k]} for k in ids},
        "metadata": {
            "image1_1": {
                "vid": "1",
                "z": [],
                "xy": [2, 10, 20.5, 30, 40],
                "av": {"1": "0,1", "2": "1", "9": "4"},
            },
            "image1_2": {"vid": "1", "xy": [2, 50, 20, 30, 40], "av": {"1": "", "2": "0"}},
            "image2_1": {
                "vid": "2",
                "z": [],
                "xy": [2, 40, 60, -30, -40],
                "av": {"1": "2", "2": "2", "9": "-1"},
            },
        },
    }


def run(tmp_path, content, *options, name="via.json"):
    (tmp_path / "videos").mkdir(exist_ok=True)
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    arguments = ["via3", str(path), "--videos", str(tmp_path / "videos"), "--fps", "10"]
    return run_command("import", [*arguments, "--output", str(tmp_path / "my.yaml"), *options])


def rows(tmp_path):
    return (tmp_path / "my.csv").read_text().splitlines()


PICTURES = ("--picture-fps", "30")


def test_import_via3_csv_that_validate_took_for_rows_of_too_few_columns(tmp_path, capsys):
    # There is no line '# ATTRIBUTE': nothing tells the names.
    assert run(tmp_path, HEAD + ROW, name="via3.csv") == 0
    assert rows(tmp_path) == ["gym,1,77,115,384,518,1"]
    own = read_custom_yaml(tmp_path / "my.yaml")
    assert (own.classes, own.timestamps, own.boxes) == ({1: "0"}, "seconds", "pixels")
    assert "no line '# ATTRIBUTE' names them (1)" in capsys.readouterr().out


def test_pictures_of_the_custom_ava_route(tmp_path, capsys):
    assert run(tmp_path, project(), *PICTURES) == 0
    # Seconds (31 - 1) / 30 and so on; the third picture was looked at and has nobody.
    assert rows(tmp_path) == [
        "1,1,10,20.5,40,60.5,1",
        "1,1,10,20.5,40,60.5,2",
        "1,1,50,20,80,60,4",
        "1,1,10,20.5,40,60.5,5",
        "1,2,10,20,40,60,3",
        "1,2,10,20,40,60,6",
        "1,3",
    ]
    own = read_custom_yaml(tmp_path / "my.yaml")
    # Both attributes have an option of this name.
    names = ["talk", "bow", "head: other", "stand", "sit", "body: other"]
    assert own.classes == dict(enumerate(names, start=1))
    frames = load_key_frames(own)
    assert [(f["video_id"], f["timestamp"], len(f["annotations"])) for f in frames] == [
        ("1", 1.0, 2),
        ("1", 2.0, 1),
        ("1", 3.0, 0),
    ]
    assert sorted(frames[0]["annotations"][0]["actions"]) == [0, 1, 4]
    said = capsys.readouterr().out
    assert "whose actions are the attributes head, body (3)" in said
    assert "pictures are counted from 1" in said
    assert "pictures without a region: taken as moments with nobody (1)" in said


def test_persons_are_told_apart_by_an_attribute(tmp_path, capsys):
    options = ("--person-attribute", "who", "--attribute", "body", "--first-frame", "1")
    assert run(tmp_path, project(), *PICTURES, *options) == 0
    assert rows(tmp_path) == [
        "1,1,50,20,80,60,1",
        "1,1,10,20.5,40,60.5,2,4",
        "1,2,10,20,40,60,3",
        "1,3",
    ]
    said = capsys.readouterr().out
    assert "regions without a value of --person-attribute: without a number (2)" in said
    assert "counted from 1" not in said


def test_names_of_persons_become_numbers(tmp_path):
    content = project()
    for region, name in zip(content["metadata"].values(), ("zoe", "ann", "zoe")):
        region["av"]["9"] = name
    options = ("--person-attribute", "who", "--attribute", "body", "--classes", "sit", "other")
    assert run(tmp_path, content, *PICTURES, *options) == 0
    assert rows(tmp_path) == ["1,1,10,20.5,40,60.5,1,1", "1,2,10,20,40,60,2,1", "1,3"]


def test_regions_of_videos_by_their_times(tmp_path, capsys):
    attributes = json.dumps(
        {
            "1": {"aname": "line", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {"d": "x"}},
            "2": {
                "aname": "action",
                "anchor_id": "FILE1_Z1_XY1",
                "type": 4,
                "options": {"0": "run", "1": "wave, twice"},
            },
        }
    )
    cells = [
        ("[2.5]", "[2,1,2,30,40]", '{"1":"Ann","2":"1"}'),
        ("[2.504]", "[4,50,60,10,20]", '{"1":"Bob","2":"0"}'),  # the same frame
        ("[2.6]", "[1,50,60]", '{"2":"0"}'),  # a point
        ("[1.0,4.0]", "[]", '{"1":"Ann"}'),
        ("[]", "[]", '{"2":"0"}'),
    ]
    text = HEAD.replace("# CSV", f"# ATTRIBUTE = {attributes}\n# CSV")
    for time, shape, values in cells:
        quoted = values.replace('"', '""')
        text += f'"m","[""day/gym hall.mp4""]",0,"{time}","{shape}","{quoted}"\n'
    assert run(tmp_path, text, "--person-attribute", "line", name="v.csv") == 0
    # The point's frame is not said to be empty.
    assert rows(tmp_path) == ["gym hall,2.5,40,40,60,80,1,1", "gym hall,2.5,1,2,31,42,2,0"]
    said = capsys.readouterr().out
    assert "stretches of time, which have no box at a moment: left out (1)" in said
    assert "values of whole files, which are no person's: left out (1)" in said
    assert "shapes of the kind ellipse: their enclosing boxes are taken (1)" in said
    assert "shapes of the kind point without an area: left out, with their frames (1)" in said
    assert "times less than 0.01 s apart: taken as one moment (1)" in said
    assert read_custom_yaml(tmp_path / "my.yaml").classes == {1: "run", 2: "wave, twice"}


def test_the_value_of_a_stretch_can_be_the_action_of_a_region(tmp_path):
    # VIA writes it into regions that are drawn while the stretch is selected.
    attributes = {"1": {"aname": "line", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {}}}
    content = project(attributes=attributes)
    content["metadata"] = {
        "a": {"vid": "1", "z": [], "xy": [2, 1, 2, 3, 4], "av": {"1": "jump high"}},
    }
    assert run(tmp_path, content, *PICTURES) == 2
    assert run(tmp_path, content, *PICTURES, "--attribute", "line") == 0
    assert rows(tmp_path)[0] == "1,1,1,2,4,6,1"
    assert read_custom_yaml(tmp_path / "my.yaml").classes == {1: "jump high"}


def test_the_written_data_set_is_valid(tmp_path, write_video, capsys):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/1.mp4", num_frames=40, rate=10)
    content = project(("1_000031.jpg", "1_000061.jpg"))
    for region in content["metadata"].values():
        region["xy"] = [2, 5, 5, 20, 20]
    content["metadata"].pop("image1_2")
    assert run(tmp_path, content, *PICTURES) == 0
    command = ["--dataset", str(tmp_path / "my.yaml"), "--media"]
    assert run_command("validate", command) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("names", "options", "video", "seconds"),
    [
        (["gym/img_00026.jpg", "gym/img_00051.jpg"], (), "gym", [1, 2]),
        (["4_clip_001_frame_0026.jpg"], (), "4_clip_001", [1]),
        (["http://host/a/day%201_000001.png?x=1"], (), "day 1", [0]),
        ([r"C:\pictures\a-b-000051.JPG"], (), "a-b", [2]),
        (["img_00001.jpg"], ("--video", "hall", "--first-frame", "0"), "hall", [0.04]),
        (["f12.jpg"], ("--video", "hall"), "hall", [0.44]),
    ],
)
def test_names_of_pictures(tmp_path, names, options, video, seconds):
    content = project(names)
    content["metadata"] = {
        str(k): {"vid": str(k), "xy": [2, 1, 2, 3, 4], "av": {"1": "0"}}
        for k, _ in enumerate(names, start=1)
    }
    assert run(tmp_path, content, "--picture-fps", "25", *options) == 0
    assert rows(tmp_path) == [f"{video},{second},1,2,4,6,1" for second in seconds]


def test_a_video_that_is_called_frame(tmp_path, write_video):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/gym_frame.mp4", num_frames=4, rate=10)
    assert run(tmp_path, project(["gym_frame_0031.jpg", "gym_frame_0061.jpg"]), *PICTURES) == 0
    assert rows(tmp_path)[0].startswith("gym_frame,1,")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, (), "say how many pictures a second of video has, --picture-fps 30"),
        ({"--": ["img_1.jpg"]}, PICTURES, "which does not tell its video: --video NAME"),
        (
            {"--": ["gym.jpg"]},
            PICTURES,
            "expected the video's name and a number, as gym_000031.jpg",
        ),
        ({"--": ["1_000000.jpg"]}, PICTURES, "say how pictures are counted, --first-frame 0 or 1"),
        ({"--": ["gym_1.mp4"]}, PICTURES, "has no time, but is a region of 'gym_1.mp4'"),
        ({}, (*PICTURES, "--attribute", "legs"), "--attribute legs: the file has head, body, who"),
        ({}, (*PICTURES, "--person-attribute", "x"), "--person-attribute x: the file has head"),
        ({"attribute": {}}, PICTURES, "no attribute of regions has options"),
        ({"metadata": {}}, PICTURES, "no region of a picture or of a frame"),
        ({("image1_1", "vid"): "7"}, PICTURES, "has the vid '7', which no view has"),
        ({("image1_1", "xy"): [2, 1, 2, 3]}, PICTURES, "['image1_1'].xy is [2, 1, 2, 3], expected"),
        ({("image1_1", "xy"): [12, 1, 2]}, PICTURES, "expected the number of a shape"),
        ({("image1_1", "z"): [1.0]}, PICTURES, "has a time, but is a region of '1_000031.jpg'"),
        ({("image1_1", "av"): {"1": [0]}}, PICTURES, "['1'] is [0], expected text"),
        ({"--": ["1_1.jpg", "2_1.jpg"]}, (*PICTURES, "--video", "x"), "several videos: 1, 2"),
    ],
)
def test_errors_name_the_place(tmp_path, capsys, change, options, message):
    content = project(change["--"]) if "--" in change else project()
    for key, value in change.items():
        if isinstance(key, tuple):
            content["metadata"][key[0]][key[1]] = value
        elif key != "--":
            content[key] = value
    if "--" in change:
        content["metadata"].pop("image1_2")
        if len(change["--"]) < 2:
            content["metadata"].pop("image2_1")
    assert run(tmp_path, content, *options) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/via.json: " in error and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"a","[""gym.avi""]",0,"[1.0]","[2,1,2,3,4]"\n', "via.csv:4: 5 columns, expected 6"),
        (ROW.replace("[1.0]", "[1.0"), "via.csv:4: temporal_coordinates is no valid json"),
        (ROW.replace("[1.0]", "[a]"), "via.csv:4: temporal_coordinates is no valid json"),
        (ROW.replace('""gym.avi""', '""a.avi"",""b.avi""'), "via.csv:4: file_list belongs to 2"),
        (ROW.replace("[2,77", "[true,77"), "via.csv:4: spatial_coordinates is [True, 77"),
        (ROW.replace("[1.0]", "[-1.0]"), "there is no second -1"),
    ],
)
def test_errors_name_the_line(tmp_path, capsys, row, message):
    assert run(tmp_path, HEAD + ROW + row, name="via.csv") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_csv_that_a_spreadsheet_filled_up_and_old_attributes(tmp_path):
    text = HEAD.replace("# CSV", '# ATTRIBUTES = {"1":"pose"}\n# CSV') + ROW.strip() + ",,,\n\n"
    assert run(tmp_path, text, "--attribute", "pose", name="via.csv") == 0
    assert rows(tmp_path) == ["gym,1,77,115,384,518,1"]


def _read_damaged(path, content, options):
    path.write_bytes(content)
    try:
        select(read_via3(path, options))
    except AnnotationError as error:
        assert str(path) in str(error) or "video" in str(error)


@fuzz
@given(data=st.data())
def test_damaged_projects(tmp_path, data):
    content = dumps(data.draw(damaged_json(project())))
    if data.draw(st.integers(0, 3)) == 0:
        content = data.draw(damaged_bytes(content))
    options = ImportOptions(videos=tmp_path, picture_fps=30, person_attribute="who")
    _read_damaged(
        tmp_path / "via.json", content if isinstance(content, bytes) else content.encode(), options
    )


@fuzz
@given(data=st.data())
def test_damaged_exports(tmp_path, data):
    head = HEAD.replace("# CSV", f"# ATTRIBUTE = {json.dumps(ATTRIBUTES)}\n# CSV")
    content = data.draw(damaged_bytes(head + ROW + ROW.replace("1.0", "2.0")))
    _read_damaged(tmp_path / "via.csv", content, ImportOptions(videos=tmp_path, picture_fps=30))
