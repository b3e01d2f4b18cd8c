"""Reports whose pictures show where a model looks."""

import re

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from tubedet import load_model
from tubedet.cli.running import run_command
from tubedet.data import ClipDatasetMapper, ensure_registered
from tubedet.engine import load_config

_CONFIG = "configs/quick_schedules/ClassQuery_toy.yaml"


@pytest.fixture
def data_set(tmp_path):
    """A custom data set: a video of 4 s, key frames at the seconds 0 and 1."""
    folder = tmp_path / "media" / "film"
    folder.mkdir(parents=True)
    for number in range(40):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((40, 80, 3), 6 * number, np.uint8))
    (tmp_path / "truth.csv").write_text("film,0,0,0,40,40,1,0\nfilm,1,40,0,80,20,2,0\n")
    path = tmp_path / "own.yaml"
    path.write_text(
        "videos: media\nannotations: truth.csv\nclasses: [wait, go]\nfps: 10\nboxes: pixels\n"
    )
    return path


@pytest.fixture
def model_options(data_set, tmp_path):
    """Config keys of a small class-query detector, whose weights are random, and its csv."""
    keys = ["MODEL.DEVICE", "cpu", "MODEL.NUM_ACTIONS", "2", "DATASETS.TEST", f"('{data_set}',)"]
    torch.manual_seed(2)
    cfg = load_config(_CONFIG, keys)
    model = load_model(cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    ensure_registered(str(data_set))
    record = DatasetCatalog.get(str(data_set))[0]
    with torch.no_grad():
        (found,) = model([ClipDatasetMapper(cfg, is_train=False)(record)])
    boxes = (found["instances"].pred_boxes.tensor / torch.tensor([80, 40, 80, 40])).tolist()
    rows = ["film,0," + ",".join(f"{x:.4f}" for x in box) + ",2,0.9" for box in boxes]
    (tmp_path / "found.csv").write_text("\n".join(rows) + "\n")
    return [*keys, "MODEL.WEIGHTS", str(tmp_path / "model.pth")]


def _pictures(page):
    return re.findall('data:image/jpeg;base64,[^"]+', page)


def test_pictures_of_errors_show_where_the_model_looks(data_set, model_options, tmp_path):
    given = ["--dataset", str(data_set), "--predictions", str(tmp_path / "found.csv"), "--report"]
    pages = []
    for index, explain in enumerate(([], ["--explain", _CONFIG, *model_options])):
        folder = tmp_path / f"report{index}"
        assert run_command("evaluate", [*given, str(folder), *explain]) == 0
        pages.append((folder / "index.html").read_text(encoding="utf-8"))
    assert ["red in the pictures" in page for page in pages] == [False, True]
    plain, explained = map(_pictures, pages)
    # Four false positives of the model, and the box of each action that was missed, where it may
    # find nobody.
    assert len(plain) == len(explained) == 6
    assert not any(one == other for one, other in zip(plain[:4], explained[:4]))


def test_options_that_do_not_go_with_it_are_named(data_set, tmp_path, capsys):
    given = ["--dataset", str(data_set), "--predictions", str(tmp_path / "found.csv")]
    (tmp_path / "found.csv").touch()
    for words, message in (
        (["SEED", "1"], "SEED: config keys are for --explain"),
        (["--explain", _CONFIG], "--explain draws on the pictures of a report: give --report"),
    ):
        with pytest.raises(SystemExit) as caught:
            run_command("evaluate", [*given, *words])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
    report = ["--report", str(tmp_path / "report")]
    for config, words, message in (
        (_CONFIG, [], "--explain needs weights: put MODEL.WEIGHTS FILE behind all options"),
        (_CONFIG, ["MODEL.WEIGHTS", str(tmp_path / "no.pth")], "no.pth"),
    ):
        words = ["--explain", config, *words, "MODEL.DEVICE", "cpu"]
        assert run_command("evaluate", [*given, *report, *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert message in line
