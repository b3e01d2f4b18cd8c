"""The command that evaluates a prediction csv."""

import functools
import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.cli.running import run_command
from tubedet.data import ActionTube, register_action_tubes
from tubedet.data.annotations.tube_files import AnnotatedVideo

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "ava_eval"


@pytest.fixture(scope="module")
def command():
    return functools.partial(run_command, "evaluate")


def options(case, **others):
    folder = FIXTURES / "cases" / case
    given = {
        "groundtruth": folder / "gt.csv",
        "labelmap": FIXTURES / "labelmap60.pbtxt",
        "exclude": folder / "excl.csv",
        "predictions": folder / "det.csv",
        **others,
    }
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


@pytest.mark.parametrize(
    ("protocol", "revision"),
    [(None, "off2019"), ("official_2018", "off2018"), ("official_2020", "off2020")],
)
def test_json_and_table(command, tmp_path, capsys, protocol, revision):
    path = tmp_path / "figures.json"
    path.write_text("older figures")
    arguments = options("cap50", json=path)
    if protocol:
        arguments += ["--protocol", protocol]
    assert command(arguments) == 0
    stored = json.loads(path.read_text())
    expected = json.loads((FIXTURES / "cases" / "cap50" / "expected.json").read_text())
    expected = expected["results"][revision]
    assert stored["protocol"] == (protocol or "official")
    assert math.isclose(stored["mAP@0.5IOU"], expected["mAP"], abs_tol=1e-9)
    assert len(stored["per_class"]) == 60
    defined = {name: ap for name, ap in stored["per_class"].items() if ap is not None}
    assert defined == pytest.approx(expected["per_class"], abs=1e-9)
    table = capsys.readouterr().out
    assert f"protocol {protocol or 'official'}" in table
    assert f"{100 * expected['per_class']['sit']:.2f}" in table


def test_exclusions_count(command, tmp_path):
    means = []
    for exclude in (FIXTURES / "cases" / "excluded" / "excl.csv", FIXTURES / "exclusions_val.csv"):
        path = tmp_path / "figures.json"
        assert command(options("excluded", exclude=exclude, json=path)) == 0
        means.append(json.loads(path.read_text())["mAP@0.5IOU"])
    assert means == [1.0, 0.9]


def test_bad_input_is_one_clear_line(command, tmp_path, capsys):
    broken = tmp_path / "broken.csv"
    broken.write_text("a,0902,0,0,1,1,12,high\n")
    target = tmp_path / "figures.json"
    for arguments, message in (
        (options("perfect", predictions=broken, json=target), f"{broken}:1: 'high' in column 8"),
        (options("perfect", groundtruth=tmp_path / "absent.csv", json=target), "absent.csv"),
        (options("empty_keyframe_2col", json=target), "gt.csv:7: 2 columns"),
    ):
        assert command(arguments) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert not target.exists()


def test_files_that_are_not_there(command, tmp_path, monkeypatch, capsys):
    absent = tmp_path / "absent"
    for option in ("groundtruth", "labelmap", "exclude", "predictions"):
        assert command(options("perfect", **{option: absent})) == 2
        told = f"--{option}: {absent}: No such file or directory\n"
        assert capsys.readouterr().err.endswith(told)
    (tmp_path / "found.csv").write_text("film,902,0,0,0.5,1,1,0.9\n")
    name = f"absent of {tmp_path}"
    MetadataCatalog.get(name).set(
        evaluator_type="ava", groundtruth_csv=str(absent), label_map=str(absent), action_names=["x"]
    )
    DatasetCatalog.register(name, list)
    try:
        assert command(["--dataset", name, "--predictions", str(tmp_path / "found.csv")]) == 2
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert f"{absent}: No such file or directory; --dataset {name} needs this file, see" in (
        capsys.readouterr().err
    )


def test_input_is_not_overwritten(command, tmp_path, capsys):
    predictions = tmp_path / "det.csv"
    predictions.write_bytes((FIXTURES / "cases" / "perfect" / "det.csv").read_bytes())
    assert command(options("perfect", predictions=predictions, json=tmp_path / "./det.csv")) == 2
    captured = capsys.readouterr()
    assert f"--json: would overwrite the input {predictions}; choose" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("name", ["own.yaml", "truth.csv", "found.csv", "link.csv"])
def test_data_of_ones_own_are_not_overwritten(command, own_yaml, tmp_path, capsys, name):
    (tmp_path / "link.csv").symlink_to(tmp_path / "truth.csv")
    before = (tmp_path / name).read_bytes()
    arguments = ["--dataset", str(own_yaml), "--predictions", str(tmp_path / "found.csv")]
    assert command([*arguments, "--json", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert f"would overwrite the input {tmp_path / name}" in captured.err
    assert captured.out == "" and (tmp_path / name).read_bytes() == before


def test_outputs_that_cannot_be_written_are_told_before_the_evaluation(command, tmp_path, capsys):
    page = tmp_path / "site" / "index.html"
    page.parent.mkdir()
    page.write_text("<h1>mine</h1>")
    for arguments, message in (
        (["--json", str(tmp_path / "no" / "x.json")], f"--json: there is no folder {tmp_path}/no"),
        (["--json", str(tmp_path)], f"--json: {tmp_path} is a folder"),
        (["--report", str(page)], f"{page} is a file, the report needs a folder"),
        (["--report", str(page.parent)], f"{page} would be replaced and is no report"),
    ):
        assert command([*options("perfect"), *arguments]) == 2
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1
        assert captured.out == ""
    assert page.read_text() == "<h1>mine</h1>"


def write_frames(folder, num_frames):
    folder.mkdir(parents=True)
    for number in range(1, num_frames + 1):
        cv2.imwrite(str(folder / f"{number:05d}.png"), np.full((40, 80, 3), 6 * number, np.uint8))


@pytest.fixture
def own_yaml(tmp_path):
    """A data set of one's own: 4 s of frames, key frames at the seconds 0 and 1."""
    write_frames(tmp_path / "media" / "film", 40)
    (tmp_path / "truth.csv").write_text("film,0,0,0,40,40,1,0\nfilm,1,40,0,80,20,2,0\n")
    path = tmp_path / "own.yaml"
    path.write_text(
        "videos: media\nannotations: truth.csv\nclasses: [wait, go]\nfps: 10\nboxes: pixels\n"
    )
    (tmp_path / "found.csv").write_text(
        "film,0,0,0,0.5,1,1,0.9\nfilm,0,0,0,0.5,1,2,0.8\nfilm,1,0.5,0,1,0.5,2,0.7\n"
    )
    return path


@pytest.fixture
def tube_dataset(tmp_path):
    """One video of eight frames, two persons; a registered name."""
    write_frames(tmp_path / "frames" / "film", 8)
    numbers = np.arange(1, 9)
    boxes = np.tile(np.array([0, 0, 40, 40], np.float32), (8, 1))
    tubes = [ActionTube(0, numbers, boxes), ActionTube(1, numbers[:4], boxes[:4] + [40, 0, 40, 0])]
    name = f"tubes of {tmp_path}"
    register_action_tubes(
        name,
        lambda: {"film": AnnotatedVideo(tubes, 8, size=(40, 80))},
        action_names=["wait", "go"],
        frames_dir=str(tmp_path / "frames"),
        videos_dir=str(tmp_path / "frames"),
        fps=10,
        exclusive_actions=True,
    )
    found = [f"film,{number},0,0,0.5,1,1,0.9" for number in range(1, 9)]
    found += [f"film,{number},0.5,0,1,1,2,0.{number}" for number in (1, 2, 7, 8)]
    (tmp_path / "found.csv").write_text("\n".join(found) + "\n")
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_dataset_of_ones_own_with_report(command, own_yaml, tmp_path, capsys):
    arguments = ["--dataset", str(own_yaml), "--predictions", str(tmp_path / "found.csv")]
    report, figures = tmp_path / "report", tmp_path / "figures.json"
    assert command([*arguments, "--json", str(figures), "--report", str(report)]) == 0
    # "go" has a false positive with a better score than the true one.
    assert json.loads(figures.read_text()) == {
        "protocol": "official",
        "unit": "fraction",
        "mAP@0.5IOU": 0.75,
        "per_class": {"wait": 1.0, "go": 0.5},
    }
    assert str(report / "index.html") in capsys.readouterr().out
    page = (report / "index.html").read_text(encoding="utf-8")
    for text in ("official_2018", "official_2020", "75.00", "a person, but not this action"):
        assert text in page
    assert page.count("data:image/jpeg") == 2  # the false positive, and "go" found second


def test_protocols_of_tubes(command, tube_dataset, tmp_path, capsys):
    arguments = ["--dataset", tube_dataset, "--predictions", str(tmp_path / "found.csv")]
    target = tmp_path / "figures.json"
    for protocol in (None, "voc"):
        chosen = ["--protocol", protocol] if protocol else []
        assert command([*arguments, *chosen, "--json", str(target)]) == 0
        stored = json.loads(target.read_text())
        assert stored["protocol"] == (protocol or "act")
        assert f"(protocol {protocol or 'act'})" in capsys.readouterr().out
        assert stored["per_class"]["wait"] == 1.0
        assert set(stored["video"]) == {"0.2", "0.5", "0.75", "0.5:0.95"}
    # Of "go" two of four boxes are found, after two false positives: precision 1/2 at recall 1/2.
    assert stored["per_class"]["go"] == pytest.approx(0.25)

    report = tmp_path / "report"
    assert command([*arguments, "--report", str(report)]) == 0
    page = (report / "index.html").read_text(encoding="utf-8")
    for text in ("video-mAP@0.5:0.95", ">act<", ">voc<", "62.50", "film @ 8", "film @ 3"):
        assert text in page
    assert page.count("data:image/jpeg") == 4
    heads = re.findall(r'<button type="button">([^<]*)</button>', page)
    assert heads[:4] == [
        "class",
        "frame-AP (voc) in %",
        "frame-AP (act) in %",
        "video-AP@0.5 (act) in %",
    ]
    (row,) = re.findall(r"<tr><td>go</td>.*", page)
    # Under act straight lines through (0, 0), (1/4, 1/3) and (1/2, 1/2): 1/24 + 5/48.
    assert re.findall(r">(\d+\.\d\d)<", row) == ["25.00", "14.58", "0.00"]


def test_media_beside_csv_files(command, own_yaml, tmp_path):
    (tmp_path / "truth.csv").write_text("film,900,0,0,0.5,1,11\nfilm,901,0,0,0.5,1,12\n")
    (tmp_path / "found.csv").write_text("film,900,0,0,0.5,1,11,0.5\n")
    arguments = ["--groundtruth", str(tmp_path / "truth.csv")]
    arguments += ["--labelmap", str(FIXTURES / "labelmap60.pbtxt")]
    arguments += ["--predictions", str(tmp_path / "found.csv")]
    for media, count in ([], 0), (["--frames", str(tmp_path / "media")], 1):
        assert command([*arguments, *media, "--report", str(tmp_path / "report")]) == 0
        page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg") == count
        assert page.count("no picture") == 1 - count


def test_wrong_combinations_are_explained(command, tube_dataset, tmp_path, capsys):
    predictions = ["--predictions", str(tmp_path / "found.csv")]
    for arguments, message in (
        (["--dataset", "ava_v9"], "ava_v9 is no registered data set and no yaml; registered are"),
        (["--dataset", tube_dataset, "--protocol", "official"], "choose act, voc"),
    ):
        assert command([*arguments, *predictions]) == 2
        assert message in capsys.readouterr().err
    for arguments, message in (
        (["--dataset", "x", "--exclude", "y"], "--dataset knows its files"),
        (["--groundtruth", "x"], "give --dataset, or --groundtruth and --labelmap"),
    ):
        with pytest.raises(SystemExit):
            command([*arguments, *predictions])
        assert message in capsys.readouterr().err


def test_nothing_to_find_is_an_error(command, tmp_path, capsys):
    (tmp_path / "empty.csv").touch()
    for groundtruth, message in (
        (FIXTURES / "cases" / "gt_only_unlisted" / "gt.csv", "has boxes of the action ids 2 only"),
        (tmp_path / "empty.csv", f"{tmp_path}/empty.csv: the ground truth has no box; without"),
    ):
        target = tmp_path / "figures.json"
        given = options("gt_only_unlisted", groundtruth=groundtruth, json=target)
        assert command(given) == 2
        captured = capsys.readouterr()
        assert message in captured.err and captured.out == "" and not target.exists()


def test_tubes_without_one_are_an_error(command, tmp_path, capsys):
    name = f"no tubes of {tmp_path}"
    register_action_tubes(
        name,
        lambda: {"film": AnnotatedVideo([], 8, size=(40, 80))},
        action_names=["wait", "go"],
        frames_dir=str(tmp_path),
        videos_dir=str(tmp_path),
        fps=10,
        exclusive_actions=True,
    )
    (tmp_path / "found.csv").write_text("film,1,0,0,0.5,1,1,0.9\n")
    try:
        arguments = ["--dataset", name, "--predictions", str(tmp_path / "found.csv")]
        assert command(arguments) == 2
        assert "has no box; without a box of one of the evaluated action ids, 1, 2, no AP" in (
            capsys.readouterr().err
        )
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_boxes_in_pixels_stop_it(command, own_yaml, tmp_path, capsys):
    (tmp_path / "found.csv").write_text("film,0,0,0,40,40,1,0.9\n")
    arguments = ["--dataset", str(own_yaml), "--predictions", str(tmp_path / "found.csv")]
    assert command(arguments) == 2
    assert "look like pixels" in capsys.readouterr().err


def test_files_that_are_not_meant_like_that(command, own_yaml, tmp_path, capsys, caplog):
    folder = FIXTURES / "cases" / "perfect"
    swapped = options("perfect", groundtruth=folder / "det.csv", predictions=folder / "gt.csv")
    assert command(swapped) == 2
    assert "det.csv:1: 0.9 in column 8 is a score" in capsys.readouterr().err
    arguments = ["--dataset", str(own_yaml), "--predictions", str(tmp_path / "found.csv")]
    (tmp_path / "found.csv").write_text("film,0,0,0,0.5,1,1,0.9\nfilm,0,0,0,0.5,1,0,0.8\n")
    assert command(arguments) == 2
    assert "found.csv:2: action_id 0 in column 7: ids count from 1" in capsys.readouterr().err
    (tmp_path / "found.csv").write_text("film,0,0,0,0.5,1,1,0.9\nfilm,1,0.5,0,0.5,0.5,3,0.8\n")
    assert command(arguments) == 0
    assert "1 of 2 rows have x2 <= x1 or y2 <= y1" in caplog.text
    assert "action ids are above 2" in caplog.text
    assert "frame-mAP@0.5IOU 50.00" in capsys.readouterr().out


def test_classes_that_are_not_evaluated_are_no_mistake(command, caplog):
    assert command(options("not_whitelisted")) == 0
    assert caplog.text == ""
