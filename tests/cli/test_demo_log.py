"""What the demo tells while it works."""

import json
import logging
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog

from tubedet.cli import demo
from tubedet.cli.running import run_command

_CONFIG = str(Path(__file__).resolve().parents[2] / "configs/quick_schedules/TubeR_toy.yaml")
_OPTS = ("MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0")


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    monkeypatch.setattr(demo, "log_to_console", lambda **_: None)


def test_names_come_from_the_checkpoint_where_no_data_set_has_them(
    video, weights, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    names = [f"my action {number}" for number in range(80)]
    named, coco = tmp_path / "named.pth", tmp_path / "results.json"
    torch.save({**torch.load(weights), "action_names": names}, named)
    of_ava = MetadataCatalog.get("ava_toy_val").action_names
    for opts, expected, origin in (
        (("DATASETS.TEST", "()", "MODEL.WEIGHTS", named), names, "the checkpoint"),
        (
            ("DATASETS.TEST", "()", "MODEL.WEIGHTS", weights),
            [f"action {number}" for number in range(1, 81)],
            "nowhere: no data set",
        ),
        (("MODEL.WEIGHTS", named), of_ava, "data set 'ava_toy_val'"),
    ):
        caplog.clear()
        arguments = ["--config-file", _CONFIG, "--video-input", video, "--coco", coco]
        assert run_command("demo", list(map(str, (*arguments, *_OPTS, *opts)))) == 0
        categories = json.loads(coco.read_text())["categories"]
        assert categories == [{"id": k, "name": name} for k, name in enumerate(expected, 1)]
        (line,) = [m for m in caplog.messages if m.startswith("names of 80 actions: from ")]
        assert origin in line


def test_the_bar_and_the_log_tell_the_end(video, weights, tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    path = tmp_path / "x.jsonl"
    arguments = ["--config-file", _CONFIG, "--video-input", video, "--json", path, "--every", "5"]
    opts = (*_OPTS, "MODEL.WEIGHTS", weights)
    assert run_command("demo", list(map(str, (*arguments, *opts)))) == 0
    assert "| 42/42 [" in capsys.readouterr().err.split("\r")[-1]
    (line,) = [text for text in caplog.messages if text.startswith("film: ")]
    assert f" at 1 key frame; in {path}" in line


def test_the_toy_model_is_named_in_the_log(video, weights, tmp_path, monkeypatch):
    toy = tmp_path / "toy.pth"
    torch.save({**torch.load(weights), "trained_on": ["ava_toy_train"]}, toy)
    said = []
    monkeypatch.setattr(demo.logger, "warning", said.append)
    for path in (toy, weights):
        arguments = ["--config-file", _CONFIG, "--video-input", video, "--json", tmp_path / "x"]
        opts = (*_OPTS, "MODEL.WEIGHTS", path)
        assert run_command("demo", list(map(str, (*arguments, *opts)))) == 0
    assert said == ["toy model: for testing only"]
