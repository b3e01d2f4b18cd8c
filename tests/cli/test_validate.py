"""The command that reports every problem of a data set."""

import functools
import json
import os
import time
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

import tubedet
from tubedet.cli.running import run_command
from tubedet.data.datasets.ava import register_ava
from tubedet.data.datasets.builtin import ava_files

ROOT = Path(__file__).parents[2]
AVA = ROOT / "../shared/data/ava"
ACTION_LIST = Path(tubedet.__file__).parent / "data/datasets/label_maps/ava_action_list_v2.1.pbtxt"
TOY = "configs/quick_schedules/TubeR_toy.yaml"
ROW = "a,0902,0.1,0.2,0.5,0.9,12,0\n"


@pytest.fixture(scope="module")
def command():
    return functools.partial(run_command, "validate")


@pytest.fixture
def csv(tmp_path):
    """Function which writes a csv and returns the arguments that check it."""

    def write(text, name="val.csv"):
        (tmp_path / name).write_text(text)
        return ["--groundtruth", str(tmp_path / name), "--labelmap", str(ACTION_LIST)]

    return write


def test_good_data(command, csv, capsys):
    assert command(csv(ROW)) == 0
    output = capsys.readouterr().out
    assert "1 rows, 1 videos, 1 key frames" in output
    assert "0 errors, 0 warnings: training can start" in output


def test_problems_are_counted_and_shown(command, csv, capsys, tmp_path):
    arguments = csv(ROW * 2 + "a,0902,0,0,1,1,99,0\n" * 30 + "a\n")
    assert command([*arguments, "--show", "3"]) == 1
    output = capsys.readouterr().out
    assert f"warning: {tmp_path}/val.csv:2: the same row as line 1 [duplicate]\n" in output
    assert f"error: {tmp_path}/val.csv:33: 1 columns, expected 7" in output
    assert output.count("[class]\n") == 3 and "27 more of [class]" in output
    assert "31 errors, 30 warnings: training cannot start" in output
    assert command([*arguments, "--show", "0"]) == 1
    assert capsys.readouterr().out.count("[class]\n") == 30


def test_warnings_alone_let_training_start(command, csv):
    assert command(csv(ROW * 2)) == 0


def test_a_file_of_which_nothing_can_be_read_is_left_after_10_000_rows(
    command, csv, capsys, tmp_path
):
    arguments = csv(ROW + "a,0902,x\n" * 10_000)
    assert command([*arguments, "--json", "-", "--show", "2"]) == 1
    assert json.loads(capsys.readouterr().out)["num_errors"] == 10_000
    arguments = csv(ROW + "a,0902,x\n" * 220_000)  # 2 MB
    assert command([*arguments, "--json", "-"]) == 1
    stored = json.loads(capsys.readouterr().out)
    assert stored["num_errors"] == 10_001
    assert {problem["line"] for problem in stored["problems"]} == {None, *range(2, 10_002)}
    (last,) = [problem["message"] for problem in stored["problems"] if problem["line"] is None]
    assert last.endswith("more than 10,000 rows cannot be read; the others are not looked at")


def test_json(command, csv, capsys, tmp_path):
    arguments = csv(ROW * 2 + "a,0902,0,0,1,1,99,0\n")
    assert command([*arguments, "--json", str(tmp_path / "out.json")]) == 1
    capsys.readouterr()
    assert command([*arguments, "--json", "-"]) == 1
    stored = json.loads(capsys.readouterr().out)
    assert stored == json.loads((tmp_path / "out.json").read_text())
    assert (stored["can_train"], stored["num_errors"], stored["num_warnings"]) == (False, 1, 1)
    assert stored["problems"][0] == {
        "severity": "error",
        "kind": "class",
        "file": str(tmp_path / "val.csv"),
        "line": 3,
        "message": "action 99 is not in the label map",
    }
    assert stored["data_sets"][0]["rows"] == 3


def test_data_sets_given_together_share_no_video(command, csv, capsys, tmp_path):
    csv(ROW, "train.csv")
    arguments = csv(ROW.replace("a,", "b,") + ROW)
    arguments.insert(1, str(tmp_path / "train.csv"))
    assert command(arguments) == 1
    assert f"error: {tmp_path}/val.csv:2: video 'a' is in" in capsys.readouterr().out


def test_lists_and_media_of_a_csv(command, csv, capsys, tmp_path):
    for name, text in (("times", "0903\n"), ("names", "b.mp4\n"), ("excluded.csv", "a\n")):
        (tmp_path / name).write_text(text)
    arguments = [*csv(ROW), "--media", "--videos", str(tmp_path / "films")]
    lists = {"seconds": "times", "file-names": "names", "exclude": "excluded.csv"}
    for option, name in lists.items():
        arguments += [f"--{option}", str(tmp_path / name)]
    assert command(arguments) == 1
    output = capsys.readouterr().out
    for kind in ("time", "unknown-video", "row", "missing-media"):
        assert f"[{kind}]" in output
    assert "films/a.mp4: there is no video" in output and "4 errors" in output


def test_a_data_set_without_any_box_is_no_data_set(command, csv, capsys):
    assert command(csv("a,0902\n")) == 1
    assert "no key frame has a usable box [empty]" in capsys.readouterr().out


@pytest.fixture
def registered(toy_datasets):
    """The toy data set under names of its own, for the time of a test."""
    names = []
    for split in ("train", "val"):
        name = f"validated_{split}"
        files = ava_files(str(toy_datasets / "ava_toy"), split=split, version="v2.1")
        register_ava(name, files)
        names.append(name)
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_registered_data_sets_with_their_media(command, registered, toy_datasets, capsys):
    assert command([*registered, "--media", "all"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    assert command(["--media", "all", "--dataset", *registered]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    folder = toy_datasets / "ava_toy/videos"
    victim = min(folder.iterdir())
    content = victim.read_bytes()
    try:
        victim.write_bytes(content[: len(content) // 2])
        assert command([*registered, "--media"]) == 1
        assert f"error: {victim}: " in capsys.readouterr().out
    finally:
        victim.write_bytes(content)


def test_own_data_and_unknown_names(command, tmp_path, capsys):
    (tmp_path / "films").mkdir()
    (tmp_path / "rows.csv").write_text("a,2,10,20,30,40,1,0\na,2,50,20,70,40,2,1\n")
    (tmp_path / "films/a.mp4").touch()
    path = tmp_path / "my.yaml"
    text = "videos: films\nannotations: rows.csv\nclasses: [stand, walk]\nfps: 25\n"
    path.write_text(text + "boxes: pixels\n")
    assert command([str(path)]) == 0
    other = tmp_path / "fractions.yaml"
    other.write_text(text)
    assert command([str(other)]) == 1
    assert f"{tmp_path}/rows.csv:1: pixels, where fractions" in capsys.readouterr().out
    broken = tmp_path / "broken.yaml"
    broken.write_text("videos: [\n")
    assert command([str(broken), "no_such_name"]) == 1
    output = capsys.readouterr().out
    assert f"error: {broken}:" in output and "[load]" in output
    assert "error: no_such_name: no such data set; known: " in output


def test_missing_videos_of_own_data_are_told_once(command, tmp_path, capsys):
    (tmp_path / "films").mkdir()
    (tmp_path / "rows.csv").write_text("a,2,0,0,1,1,1,0\n")
    path = tmp_path / "my.yaml"
    path.write_text("videos: films\nannotations: rows.csv\nclasses: [stand]\nfps: 25\n")
    for media in ([], ["--media"]):
        assert command([str(path), *media]) == 1
        output = capsys.readouterr().out
        assert f"error: {tmp_path}/rows.csv:1: video 'a': there is no video" in output
        assert "[unknown-video]" in output and "1 errors" in output


def test_data_sets_without_a_check_are_told(command, capsys):
    assert command(["coco_2017_val_persons"]) == 1
    output = capsys.readouterr().out
    assert "error: coco_2017_val_persons: there is no check for data sets of this kind" in output


def test_inputs_are_not_overwritten(command, csv, tmp_path, capsys):
    (tmp_path / "films").mkdir()
    (tmp_path / "map.pbtxt").write_text('item { name: "stand" id: 1 }\n')
    own = tmp_path / "my.yaml"
    own.write_text("videos: films\nannotations: val.csv\nclasses: map.pbtxt\nfps: 25\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text("videos: [\n")
    rows = csv(ROW)
    for arguments, target in (
        (rows, tmp_path / "val.csv"),
        (rows, ACTION_LIST),
        ([str(own)], own),
        ([str(own)], tmp_path / "val.csv"),
        ([str(own)], tmp_path / "map.pbtxt"),
        ([str(broken)], broken),
    ):
        before = target.read_bytes()
        with pytest.raises(SystemExit) as caught:
            command([*arguments, "--json", str(target)])
        error = capsys.readouterr().err
        assert caught.value.code == 2 and error.count("\n") == 1
        assert f"error: --json: would overwrite the input {target}" in error
        assert target.read_bytes() == before


def test_a_json_that_cannot_be_written_is_told_before_the_check(command, csv, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        command([*csv(ROW), "--json", str(tmp_path / "no" / "x.json")])
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.out == "" and captured.err.count("\n") == 1
    assert f"error: --json: there is no folder {tmp_path}/no to write x.json to" in captured.err


def test_a_reader_that_stops_early_is_no_error(command, csv, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = csv(ROW + ROW.replace(",12,", ",99,"))
    with open(writing, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert command(arguments) == 1
        assert command([*arguments, "--json", "-"]) == 1


def test_arguments(command, csv, capsys):
    for arguments in ([], ["name", *csv(ROW)], csv(ROW)[:2], [*csv(ROW), "--jobs", "0"]):
        with pytest.raises(SystemExit) as caught:
            command(arguments)
        assert caught.value.code == 2
    assert "--jobs: expected a whole number from 1 on, got '0'" in capsys.readouterr().err


def test_the_real_ava_validation_csv_takes_seconds(command, capsys):
    if not AVA.is_dir():
        pytest.skip("the real annotations are not part of the repository")
    arguments = ["--groundtruth", str(AVA / "ava_val_v2.1_pose_only.csv.gz")]
    arguments += ["--labelmap", str(AVA / "ava_action_list_v2.2.pbtxt")]
    arguments += ["--exclude", str(AVA / "ava_val_excluded_timestamps_v2.2.csv")]
    arguments += ["--seconds", str(AVA / "ava_included_timestamps_v2.2.txt")]
    arguments += ["--file-names", str(AVA / "ava_file_names_trainval_v2.1.txt")]
    begin = time.process_time()
    assert command(arguments) == 0
    assert time.process_time() - begin < 10
    output = capsys.readouterr().out
    assert "93400 rows, 64 videos, 50029 key frames" in output
    assert "0 errors, 0 warnings" in output


def test_data_sets_with_another_order_of_actions(command, tmp_path, capsys):
    for name, classes in (("a", "[walk, wave]"), ("b", "[wave, walk]"), ("c", "[Walk, wave]")):
        (tmp_path / name / "videos" / name).mkdir(parents=True)
        (tmp_path / name / "t.csv").write_text(f"{name},1,0.1,0.2,0.5,0.9,1,0\n")
        text = f"videos: videos\nannotations: t.csv\nclasses: {classes}\nfps: 25\n"
        (tmp_path / name / "t.yaml").write_text(text)
    a, b, c = (str(tmp_path / name / "t.yaml") for name in "abc")
    assert command(["--dataset", a, c]) == 0
    capsys.readouterr()
    assert command(["--dataset", a, b]) == 1
    output = capsys.readouterr().out
    assert f"error: {a}: action 1 is 'walk' in data set '{a}' and 'wave' in '{b}'" in output
    assert "1 errors, 0 warnings: training cannot start" in output


@pytest.fixture
def custom(tmp_path):
    """Function which writes a data set of the video "a" and returns its yaml."""

    def write(csv, classes="[walk, wave]", stem="my"):
        (tmp_path / "films/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{stem}.csv").write_text(csv)
        path = tmp_path / f"{stem}.yaml"
        text = f"videos: films\nannotations: {stem}.csv\nclasses: {classes}\nfps: 25\n"
        path.write_text(text)
        return str(path)

    return write


def test_actions_that_a_mirror_exchanges_are_warned_of(command, custom, capsys):
    """Fault left-right-flip."""
    name = custom("a,1,0,0,1,1,1\n", "[raise left arm, raise right arm]")
    assert command([name]) == 0
    output = capsys.readouterr().out
    assert f"warning: {name}: training flips clips, which makes 'raise left arm' of" in output
    assert "INPUT.RANDOM_FLIP none [mirrored]" in output and "0 errors, 1 warnings" in output
    config = ["--config-file", TOY, "--opts", "DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST"]
    config += ["()", "MODEL.NUM_ACTIONS", "2"]
    assert command([*config, "INPUT.RANDOM_FLIP", "none"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    assert command(config) == 0
    assert "[mirrored]" in capsys.readouterr().out


def test_rows_of_the_protocol_of_2020_are_warned_of(command, custom, capsys, tmp_path):
    """Fault import-yaml-official."""
    name = custom("a,1,0,0,1,1,1\na,1.5,0,0,1,1,1\na,4\n")
    assert command([name]) == 0
    output = capsys.readouterr().out
    assert f"warning: {tmp_path}/my.csv:2: to evaluate on this, 1.5 is no whole second" in output
    assert "[protocol]" in output and "1 warnings: training can start" in output
    config = ["--config-file", TOY, "--opts", "MODEL.NUM_ACTIONS", "2"]
    config += ["DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)"]
    assert command(config) == 1
    output = capsys.readouterr().out
    assert f"error: {TOY}: {tmp_path}/my.csv:2: 1.5 is no whole second: the protocol" in output
    assert "1 errors, 0 warnings: training cannot start" in output
    assert command([*config, "TEST.AVA_PROTOCOL", "official_2020"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


def test_more_persons_than_queries(command, custom, capsys):
    """Fault more-persons-than-queries."""
    rows = [f"a,1,0,0,0.{n}1,1,1,{n}\na,2,0,0,1,1,1,1\n" for n in range(1, 8)]
    name = custom("".join(rows))
    config = ["--config-file", TOY, "--opts", "MODEL.NUM_ACTIONS", "2", "DATASETS.TEST", "()"]
    config += ["DATASETS.TRAIN", f"('{name}',)", "MODEL.TUBER.NUM_QUERIES"]
    assert command([*config, "6"]) == 0
    output = capsys.readouterr().out
    assert "1 of 2 key frames have more persons than MODEL.TUBER.NUM_QUERIES 6, up to 7" in output
    assert "[crowd]" in output
    assert command([*config, "7"]) == 0
    assert "[crowd]" not in capsys.readouterr().out


def test_what_a_training_with_the_config_refuses(command, custom, capsys):
    name = custom("a,1,0,0,1,1,1\n")
    config = [
        "--config-file",
        TOY,
        "--opts",
        "DATASETS.TRAIN",
        f"('{name}',)",
        "DATASETS.TEST",
        "()",
    ]
    assert command(config) == 1
    assert "has 2 actions, MODEL.NUM_ACTIONS is" in capsys.readouterr().out
    for arguments, message in (
        (["--config-file", TOY, "--groundtruth", "x.csv"], "leave out --groundtruth"),
        ([name, "--opts", "SEED", "1"], "--opts needs --config-file"),
    ):
        with pytest.raises(SystemExit):
            command(arguments)
        assert message in capsys.readouterr().err
