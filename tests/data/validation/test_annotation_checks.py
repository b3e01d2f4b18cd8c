import sys
from pathlib import Path

import numpy as np
import pytest

import tubedet
from tubedet.data.annotations.tube_files import ActionTube
from tubedet.data.datasets.ava import AVAFiles
from tubedet.data.datasets.custom_yaml import CustomDataset
from tubedet.data.validation.annotation_checks import (
    check_ava,
    check_custom_dataset,
    check_tubes,
    shared_videos,
)

LABEL_MAPS = Path(tubedet.__file__).parent / "data/datasets/label_maps"
ACTION_LIST = str(LABEL_MAPS / "ava_action_list_v2.1.pbtxt")
GOOD = "a,0902,0.1,0.2,0.5,0.9,12,0\na,0902,0.1,0.2,0.5,0.9,80,0\nb,0903,0.0,0.0,1.0,1.0,1,0\n"


@pytest.fixture
def check(tmp_path):
    """Function which checks a csv, beside other lists, and returns (severity, kind, file, line)."""

    def run(csv, **texts):
        paths = {}
        for name, text in {"groundtruth_csv": csv, **texts}.items():
            paths[name] = str(tmp_path / name)
            Path(paths[name]).write_text(text)
        files = AVAFiles(
            **{"action_list": ACTION_LIST, "label_map": ACTION_LIST, **paths},
            frames_dir=str(tmp_path / "frames"),
            videos_dir=str(tmp_path / "videos"),
        )
        run.checked = check_ava("mine", files)
        return [(p.severity, p.kind, Path(p.file).name, p.line) for p in run.checked.problems]

    return run


def test_good_data_have_no_problem(check):
    lists = {
        "exclusions_csv": "b,0904\n",
        "included_timestamps": "0902\n0903\n0904\n",
        "file_names": "a.mkv\nb.mp4\n",
        "video_info_csv": "video_id,height,width,fps,start_second,num_frames\na,9,9,30,900,100\n",
    }
    assert check(GOOD + "b,0904\n", **lists) == []
    checked = check.checked
    assert (checked.num_rows, checked.first_lines) == (4, {"a": 1, "b": 3})
    assert [(r["video_id"], r["timestamp"]) for r in checked.records] == [("a", 902), ("b", 903)]
    assert checked.records[0]["width"] == 9 and "width" not in checked.records[1]


@pytest.mark.parametrize(
    "row, kind, message",
    [
        ("a,0902,0.1,0.2,0.5", "row", "5 columns, expected 7 or 8"),
        ("", "row", "empty line"),
        ('a,"0902,0.1,0.2,0.5,0.9,12,0', "row", "unexpected end"),
        ("a,0902,0.1,zero,0.5,0.9,12,0", "row", "'zero' in column 4 (y1)"),
        ("a,0902,0.1,nan,0.5,0.9,12,0", "row", "expected a finite number"),
        ("a,soon,0.1,0.2,0.5,0.9,12,0", "row", "'soon' in column 2 (timestamp)"),
        ("a,0902,0.5,0.2,0.5,0.9,12,0", "empty-box", "x1 >= x2 or y1 >= y2: 0.5, 0.2"),
        ("a,0902,0.1,0.9,0.5,0.2,12,0", "empty-box", "x1 >= x2"),
        ("a,0902,0.1,0.2,1.2,0.9,12,0", "out-of-range", "not within 0 and 1: 0.1, 0.2, 1.2, 0.9"),
        ("a,0902,-0.1,0.2,0.5,0.9,12,0", "out-of-range", "not within 0 and 1"),
        ("a,0902,10,20,300,200,12,0", "pixel-boxes", "pixels, where fractions"),
        ("a,0902,0.1,0.2,0.5,0.9,81,0", "class", "action 81 is not in the label map"),
        ("a,0902,0.1,0.2,0.5,0.9,0,0", "class", "action 0 is not"),
    ],
)
def test_a_bad_row_is_an_error_with_its_line(check, row, kind, message):
    assert check(GOOD + row + "\n" + GOOD.replace("a,", "c,").replace("b,", "d,")) == [
        ("error", kind, "groundtruth_csv", 4)
    ]
    assert message in check.checked.problems[0].message


def test_every_problem_of_a_file_is_found(check):
    rows = ["a,x", *["a,0902,10,20,300,200,99,0"] * 2, "a,0902,0,0,9,1,1,0", '"'] * 2000
    problems = check("\n".join(rows))
    kinds = [kind for _, kind, _, _ in problems]
    assert kinds.count("row") == kinds.count("class") == 4000
    assert kinds.count("pixel-boxes") == 6000
    assert kinds.count("duplicate") == 3999 + 1999
    assert {line for _, kind, _, line in problems if kind == "row"} == {
        *range(1, 10_001, 5),
        *range(5, 10_001, 5),
    }


def test_duplicates_name_the_earlier_line(check):
    row = "a,0902,0.1,0.2,0.5,0.9,12,0\n"
    assert check(GOOD + row.replace(",0\n", ",1\n") + row) == [
        ("warning", "duplicate", "groundtruth_csv", 5)
    ]
    assert check.checked.problems[0].message == "the same row as line 1"
    seven = "c,0902,0.1,0.2,0.5,0.9,12\n"
    assert check(GOOD + seven * 2) == [("warning", "duplicate", "groundtruth_csv", 5)]


def test_excluded_key_frames_with_labels_are_warned_about_once(check):
    assert check(GOOD + "b,0904\n", exclusions_csv="a,0902\nb,0904\n") == [
        ("warning", "excluded", "groundtruth_csv", 1)
    ]
    assert [r["video_id"] for r in check.checked.records] == ["b"]


def test_videos_and_seconds_must_be_known(check):
    assert check(GOOD + "b,0904\n", file_names="a.mkv\n", included_timestamps="0902\n0904\n") == [
        ("error", "unknown-video", "groundtruth_csv", 3),
        ("error", "time", "groundtruth_csv", 3),
    ]
    infos = (
        "video_id,height,width,fps,start_second,num_frames\n"
        "a,9,9,25,900,50\nb,9,9,25,903.5,100\nc,9,9,0,0,0\n"
    )
    assert check(GOOD + "a,901\n", video_info_csv=infos) == [
        ("error", "video-info", "video_info_csv", 4),
        ("error", "time", "groundtruth_csv", 1),
        ("error", "time", "groundtruth_csv", 3),
    ]
    assert "from 900 to 902 s" in check.checked.problems[1].message


def test_bad_lists_are_told_with_all_lines(check):
    assert check(
        GOOD,
        exclusions_csv="a\nb,0950\nc,x\n",
        included_timestamps="0902\n0903\nnine\n",
        label_map="item {\n",
    ) == [
        ("error", "label-map", "label_map", 1),
        ("error", "row", "exclusions_csv", 1),
        ("error", "row", "exclusions_csv", 3),
        ("error", "row", "included_timestamps", 3),
    ]


def test_missing_files_are_told(tmp_path, check):
    files = AVAFiles(str(tmp_path / "rows.csv"), str(tmp_path / "map"), str(tmp_path / "map"))
    problems = check_ava("none", files).problems
    assert [(p.kind, Path(p.file).name) for p in problems] == [
        ("missing-file", "map"),
        ("missing-file", "rows.csv"),
    ]
    assert str(problems[1]).startswith(f"error: {tmp_path}/rows.csv: No such file")


@pytest.fixture
def own(tmp_path):
    """Function which checks a csv as a custom data set."""

    def run(csv, **options):
        path = tmp_path / "own.csv"
        path.write_text(csv)
        (tmp_path / "a").mkdir(exist_ok=True)  # the frames of the video
        options = {"classes": {1: "stand", 2: "walk"}, "fps": 25.0, **options}
        own = CustomDataset(str(tmp_path / "my.yaml"), str(tmp_path), str(path), **options)
        run.checked = check_custom_dataset(own)
        return [(p.severity, p.kind, p.line) for p in run.checked.problems]

    return run


def test_own_data_in_pixels(own):
    rows = "a,2,5,6,200,30,1,0\na,3,-5,6,200,30,3,0\na,1.5,5,6,200,30,1\n"
    assert own(rows, boxes="pixels") == [("error", "class", 2), ("error", "out-of-range", 2)][::-1]
    assert own(rows.replace(",-5,", ",5,"), boxes="pixels", timestamps="frames") == [
        ("error", "class", 2),
        ("error", "person", 3),
        ("error", "time", 3),
    ]
    for record in own.checked.records:
        assert record["pixel_boxes"].lines.tolist() == [1, 2, 3]
        assert record["pixel_boxes"].boxes[:, 2:].tolist() == [[200, 30]] * 3
    assert [r["frame_number"] for r in own.checked.records] == [2, 3]
    assert own("a,2,0,0,0.5,1,1\n", boxes="pixels") == [("error", "fraction-boxes", 1)]


def test_own_data_in_fractions_and_seconds(own, tmp_path):
    excluded = tmp_path / "excluded.csv"
    excluded.write_text("a,2\na,two\n")
    rows = "a,2,0,0,0.5,1,1\na,0.5,0,0,0.5,1,1\na,9,5,6,200,30,1\n"
    assert own(rows, start_second=1.0, excluded=str(excluded)) == [
        ("error", "row", 2),
        ("error", "pixel-boxes", 3),
        ("warning", "excluded", 1),
        ("error", "time", 2),
    ]
    assert [r["timestamp"] for r in own.checked.records] == [9]


def test_videos_of_own_data_start_when_their_row_says(own):
    rows = "a,2,0,0,0.5,1,1\na,12,0,0,0.5,1,1\na,13\n"
    assert own(rows, start_second={"a": 12.0, "other": 0.0}) == [("error", "time", 1)]
    assert [(r["timestamp"], r["start_second"]) for r in own.checked.records] == [
        (12.0, 12.0),
        (13.0, 12.0),
    ]
    assert own(rows, start_second={"b": 0.0}) == [("error", "unknown-video", 1)]
    message = own.checked.problems[0].message
    assert message == "key 'start_second': its csv has no row for the video 'a'"
    assert not own.checked.records


def test_videos_of_own_data_must_be_stored(own, tmp_path):
    rows = "a,2,0,0,0.5,1,1\ngone,3,0,0,0.5,1,1\ngone,2,0,0,0.5,1,1\nempty,2\n"
    assert own(rows) == [("error", "unknown-video", 2), ("error", "unknown-video", 4)]
    message = own.checked.problems[0].message
    assert message.startswith(f"video 'gone': there is no video {tmp_path}/gone with one of the")
    assert own.checked.missing_videos == {"gone", "empty"}


def test_a_nul_in_a_video_id_is_an_error(own):
    rows = "a\0,2,0,0,0.5,1,1,0\na\0,3,0,0,0.5,1,1,0\na,2,0,0,0.5,1,1,0\nb\0c,4\n"
    found = own(rows, timestamps="frames")
    lines = {line for severity, kind, line in found if (severity, kind) == ("error", "row")}
    assert not any("b\0c" in problem.message for problem in own.checked.problems)
    if sys.version_info < (3, 11):  # its csv module reads no line with a NUL
        assert lines == {1, 2, 4}
        return
    assert lines == {1, 4}  # each video is reported once
    assert "b\0c" in own.checked.missing_videos


def test_a_frame_number_beyond_all_videos_is_an_error(own):
    assert own("a,1e30,0,0,0.5,1,1,0\n", timestamps="frames") == [("error", "time", 1)]
    assert own.checked.problems[0].message == "1e+30 is not a frame number 1, 2, ..."


def test_all_rows_against_the_rules_about_persons(own):
    box = "0,0,0.5,1"
    rows = (
        f"a,2,{box},1,0\na,2,{box},2,0\na,2,{box},2,1\n"  # person 0 does two things
        f"a,2,0.1,0,0.5,1,1,1\na,2,{box},2,0\n"  # person 1 has two boxes; line 2 again
    )
    assert own(rows, exclusive=True) == [
        ("warning", "duplicate", 5),
        ("error", "exclusive", 2),
        ("error", "exclusive", 5),
    ]
    assert own.checked.problems[1].message == (
        "this person has an action already, in line 1, and 'exclusive' is true"
    )
    rows += f"a,2,{box},1\na,2,{box},1,0.5\n"
    found = own(rows, exclusive=True, timestamps="frames")
    assert found == [
        ("warning", "duplicate", 5),
        ("error", "person", 6),
        ("error", "person", 7),
        ("error", "person", 5),
        ("error", "exclusive", 2),
        ("error", "exclusive", 4),
    ]
    messages = [problem.message for problem in own.checked.problems]
    assert messages[1] == "'timestamps: frames' needs a person id, a whole number, in column 8"
    assert messages[3] == "this person has this action in this frame already, in line 2"


def test_tubes():
    def tube(label, frames, boxes):
        return ActionTube(label, np.array(frames), np.array(boxes, np.float32))

    tubes = {
        "a": [
            tube(0, [1, 2], [[0, 0, 319, 239], [5, 5, 5, 9]]),
            tube(2, [4], [[0, 0, 400, 9]]),
        ]
    }
    records = [{"video_id": "a", "height": 240, "width": 320}]
    checked = check_tubes("jhmdb", tubes, {"a": 3}, records, num_actions=2)
    assert [(p.severity, p.kind, p.message) for p in checked.problems] == [
        ("error", "empty-box", "video 'a', tube 0, frame 2: x1 >= x2 or y1 >= y2"),
        ("error", "class", "video 'a', tube 1: label 2, there are 2"),
        ("error", "time", "video 'a', tube 1: frame 4 of 3"),
        ("warning", "outside", "video 'a', tube 1, frame 4: the box leaves the frame"),
    ]
    assert checked.num_rows == 3 and checked.records is records


def test_shared_videos_are_told_at_their_first_line(check):
    check(GOOD)
    train = check.checked
    check("c,0902,0,0,1,1,1\nb,0902,0,0,1,1,1\nb,0904\n")
    (problem,) = shared_videos([train, check.checked])
    assert (problem.severity, problem.kind, problem.line) == ("error", "overlap", 2)
    assert "video 'b' is in" in problem.message


def test_videos_of_one_name_in_other_folders_are_not_shared(own, tmp_path):
    rows = "a,2,0,0,0.5,1,1\n"
    own(rows)
    first = own.checked
    own(rows)
    assert len(list(shared_videos([first, own.checked]))) == 1
    own.checked.records[0]["video"] = str(tmp_path / "other/a")
    assert list(shared_videos([first, own.checked])) == []


def test_two_files_of_one_video_are_warned_of(own, tmp_path):
    (tmp_path / "B.mp4").touch()
    (tmp_path / "a.avi").touch()
    found = own("a,2,0,0,0.5,1,1\nb,2,0,0,0.5,1,1\n")
    assert found == [("warning", "ambiguous-video", 1), ("error", "unknown-video", 2)]
    messages = [problem.message for problem in own.checked.problems]
    assert messages[0] == f"video 'a' is {tmp_path}/a, and there is a.avi too"
    assert messages[1].endswith("; did you mean 'B'?")
