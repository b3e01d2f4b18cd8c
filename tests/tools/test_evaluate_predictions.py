"""The command that evaluates a prediction csv."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "ava_eval"


@pytest.fixture(scope="module")
def command():
    path = ROOT / "tools" / "evaluate_predictions.py"
    spec = importlib.util.spec_from_file_location("evaluate_predictions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


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


def test_input_is_not_overwritten(command, tmp_path, capsys):
    predictions = tmp_path / "det.csv"
    predictions.write_bytes((FIXTURES / "cases" / "perfect" / "det.csv").read_bytes())
    with pytest.raises(SystemExit) as caught:
        command(options("perfect", predictions=predictions, json=tmp_path / "." / "det.csv"))
    assert caught.value.code == 2
    assert "would overwrite" in capsys.readouterr().err
