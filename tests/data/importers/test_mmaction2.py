import csv

import pytest

from tubedet.cli.running import run_command
from tubedet.data import AnnotationError
from tubedet.data.datasets.custom import load_key_frames, load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.labels import ImportOptions
from tubedet.data.importers.mmaction2 import read_mmaction2

ROWS = """\
gym.avi,0902,0.031,0.162,0.670,0.995,12,0
gym.avi,0902,0.031,0.162,0.670,0.995,17,0
gym.avi,0902,0.700,0.100,0.900,0.900,12,1
gym.avi,903,0.034,0.189,0.669,0.980,99,0
hall,904.5,0.1,0.2,0.3,0.4,17
hall,905
"""
NAMES = "12: stand\n17: carry/hold\n"


def read(folder, text=ROWS, names=NAMES, **options):
    path = folder / "train.csv"
    path.write_text(text)
    (folder / "label_map.txt").write_text(names)
    return read_mmaction2(path, ImportOptions(videos=folder, **options))


def test_rows(tmp_path):
    labels = read(tmp_path)
    assert labels.in_seconds and labels.in_fractions and not labels.start_seconds
    assert labels.class_names == ["stand", "carry/hold"]
    assert [tuple(box) for box in labels.boxes] == [
        ("gym", 902, (0.031, 0.162, 0.670, 0.995), ("stand", "carry/hold"), 0),
        ("gym", 902, (0.700, 0.100, 0.900, 0.900), ("stand",), 1),
        ("gym", 903, (0.034, 0.189, 0.669, 0.980), (), 0),
        ("hall", 904.5, (0.1, 0.2, 0.3, 0.4), ("carry/hold",), None),
    ]
    assert labels.empty == {("hall", 905)}
    assert labels.remarks == {
        "rows of the action 99, which has no name: left out": 1,
        "names of videos without their folders or endings": 1,
    }


def test_written_and_loaded(tmp_path, capsys):
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "names.txt").write_text(NAMES)
    arguments = [str(tmp_path / "train.csv"), "--videos", str(tmp_path), "--fps", "30"]
    arguments += ["--output", str(tmp_path / "my.yaml")]
    assert run_command("import", arguments) == 2
    assert "say which file has their names, --label-map FILE" in capsys.readouterr().err
    arguments += ["--label-map", str(tmp_path / "names.txt"), "--start-second", "900"]
    assert run_command("import", arguments) == 0
    printed = capsys.readouterr().out
    assert "format mmaction2, recognised by its 8 columns, a video and numbers" in printed
    assert "rows of the action 99, which has no name: left out (1)" in printed
    with open(tmp_path / "my.csv", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["gym", "902", "0.031", "0.162", "0.67", "0.995", "1", "0"],
            ["gym", "902", "0.7", "0.1", "0.9", "0.9", "1", "1"],
            ["gym", "902", "0.031", "0.162", "0.67", "0.995", "2", "0"],
            ["hall", "904.5", "0.1", "0.2", "0.3", "0.4", "2"],
            ["hall", "905"],
        ]
    own = read_custom_yaml(tmp_path / "my.yaml")
    assert own.classes == {1: "stand", 2: "carry/hold"} and own.start_second == 900
    dicts = load_key_frames(own)
    assert [(d["video_id"], d["timestamp"], d["start_second"]) for d in dicts] == [
        ("gym", 902.0, 900.0),
        ("hall", 904.5, 900.0),
        ("hall", 905.0, 900.0),
    ]
    assert [len(d["annotations"]) for d in dicts] == [2, 1, 0]


def test_numbers_of_frames_as_multisports_has_them(tmp_path):
    text = "aerobic/v_a.mp4,377,0.7,0.4,0.8,0.9,0,0\naerobic/v_a.mp4,378,0.7,0.4,0.8,0.9,0,0\n"
    text += "aerobic/v_a.mp4,378,0.1,0.4,0.2,0.9,1,0\n"  # another person: counted by action
    labels = read(tmp_path, text, "0: push up\n1: jump\n", first_frame=1)
    assert not labels.in_seconds and labels.in_fractions
    assert [(*box.moment, box.actions, box.person_id) for box in labels.boxes] == [
        ("aerobic/v_a", 377, ("push up",), 0),
        ("aerobic/v_a", 378, ("push up",), 0),
        ("aerobic/v_a", 378, ("jump",), 1),
    ]
    assert labels.remarks["persons that are counted for each action: told apart by both"] == 2
    assert read(tmp_path, text, "0: push up\n1: jump\n", first_frame=0).boxes[0].time == 378


def test_frames_are_loaded_as_tubes(tmp_path, write_video):
    write_video(tmp_path / "gym.mp4", 9, rate=10)
    (tmp_path / "train.csv").write_text("gym,4,0,0,0.5,1,1,7\ngym,5,0,0,0.5,1,1,7\n")
    (tmp_path / "names.txt").write_text("1: run\n")
    arguments = [str(tmp_path / "train.csv"), "--videos", str(tmp_path), "--first-frame", "0"]
    arguments += ["--output", str(tmp_path / "my.yaml"), "--label-map", str(tmp_path / "names.txt")]
    assert run_command("import", arguments) == 0
    (tube,) = load_tubes(read_custom_yaml(tmp_path / "my.yaml"))["gym"].tubes
    assert tube.frames.tolist() == [5, 6] and tube.person_id == 7
    assert tube.boxes[0].tolist() == [0, 0, 32, 48]


def test_a_line_of_column_names(tmp_path):
    header = "video_name,frame_idx,x1,y1,x2,y2,action_label,person_id\n"
    labels = read(tmp_path, header + ROWS)
    assert len(labels.boxes) == 4 and labels.remarks["lines of column names: passed over"] == 1
    remark = "column 2 is called 'frame_idx' and read as seconds; say --first-frame 0 or 1 if it "
    assert labels.remarks[remark + "has numbers of frames"] == 1
    with pytest.raises(AnnotationError, match=r"train\.csv:1: column 7 is called 'person_id': th"):
        read(tmp_path, "video_name,frame_idx,x1,y1,x2,y2,person_id\n1,2,0.1,0.1,0.2,0.2,6\n")


@pytest.mark.parametrize("last", ["-1", "0"])
def test_a_last_column_that_is_no_person(tmp_path, last):
    text = f"gym,1,0,0,0.5,1,12,{last}\ngym,1,0.5,0,1,1,12,{last}\n"
    labels = read(tmp_path, text)
    assert [box.person_id for box in labels.boxes] == [None, None]
    told = {"column 8 has the same number in all rows: it is no person's": 1}
    assert labels.remarks == (told if last == "0" else {})


def test_slips_of_a_tracker_lose_their_number(tmp_path):
    text = "".join(f"gym,{second},0,0,0.5,1,12,3\n" for second in range(5))
    text += "gym,0,0.5,0,1,1,12,3\ngym,1,0.5,0,1,1,12,4\n"
    labels = read(tmp_path, text)
    assert [box.person_id for box in labels.boxes] == [None, 3, 3, 3, 3, None, 4]
    remark = "boxes whose person has another box at that moment: its number is dropped"
    assert labels.remarks == {remark: 2}


def test_pixels(tmp_path):
    labels = read(tmp_path, "gym,1,10,20,300,400,12,3\n")
    assert not labels.in_fractions and labels.boxes[0].box == (10, 20, 300, 400)
    assert labels.remarks == {"boxes in pixels, not in fractions of the frame": 1}


def test_names_of_videos(tmp_path):
    rows = f"{tmp_path}/a/gym.mp4,1,0,0,1,1,12\n/home/me/hall.MP4,1,0,0,1,1,12\nv.1,1,0,0,1,1,12\n"
    assert [box.video_id for box in read(tmp_path, rows).boxes] == ["a/gym", "hall", "v.1"]
    with pytest.raises(AnnotationError, match="'/x/gym.mp4' and '/y/gym.mp4' would be the same"):
        read(tmp_path, "/x/gym.mp4,1,0,0,1,1,12\n/y/gym.mp4,1,0,0,1,1,12\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.csv: no rows"),
        ("gym,1,0,0,1,1\n", "train.csv:1: 6 columns"),
        ("gym,1,0,0,1,1,run\n", "train.csv:1: 'run' in column 7"),
        ("gym,-1,0,0,1,1,12\n", "train.csv:1: the time -1, expected a second"),
        ("gym,1,0,0,1,1,12\n ,1,0,0,1,1,12\n", "train.csv:2: ' ' is no name of a video"),
        (" .avi,1,0,0,1,1,12\n", "train.csv:1: ' ' is no name of a video"),
        ("\0,1\n", "train.csv:1: '\\x00' is no name of a video"),
        ("gym,1,0.5,0,0.4,1,12\n", "train.csv:1: not a box: x1 <= x2 and y1 <= y2 must hold"),
        ("gym,1,0,0,1,1,0\n", "train.csv:1: the action 0, which the names do not have"),
        ("gym,1,0,0,1,1,12,0.98\n", "train.csv:1: column 8 is no number of a person; a score"),
        (ROWS + "gym,907,10,20,300,400,12\n", "train.csv:7: a box beyond the frame, while others"),
        (
            "".join(f"gym,0,0.{n},0,1,1,12,3\n" for n in range(1, 5)) + "gym,0,0,0,1,1,12,4\n",
            "train.csv:2: person 3 has another box at this moment, in line 1; are the times right",
        ),
    ],
)
def test_errors_name_the_line(tmp_path, text, message):
    with pytest.raises(AnnotationError) as error:
        read(tmp_path, text)
    assert message in str(error.value)


def test_frames_need_persons_and_no_clock(tmp_path):
    with pytest.raises(
        AnnotationError, match=r"train\.csv:5: .* need a person's number in column 8"
    ):
        read(tmp_path, ROWS.replace("904.5", "904"), first_frame=1)
    with pytest.raises(
        AnnotationError, match=r"train\.csv:5: the time 904\.5, expected a frame fr"
    ):
        read(tmp_path, first_frame=1)
    with pytest.raises(AnnotationError, match="--start-second is for seconds, --first-frame for n"):
        read(tmp_path, first_frame=1, start_second=900.0)


def test_a_box_without_area_is_not_nobody(tmp_path):
    labels = read(tmp_path, "gym,1,0.2,0,0.2,1,12\ngym,1\ngym,2\ngym,3,0,0,1,1,12\n")
    assert labels.empty == {("gym", 2)} and [box.time for box in labels.boxes] == [3]
    assert labels.remarks == {"boxes without an area: left out, with their moments": 1}
