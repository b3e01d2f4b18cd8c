"""Small broken data sets: tubedet validate and the start of a training say the same of them."""

import logging

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.cli import train
from tubedet.cli.running import run_command
from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.data.validation.dataset_checks import check_dataset
from tubedet.engine import Trainer, load_config
from tubedet.engine.start_checks import check_data_sets, persons_per_key_frame
from tubedet.errors import UserError

TOY = "configs/quick_schedules/TubeR_toy.yaml"
ROW = "gym,1,0.1,0.2,0.5,0.9,1,0\n"
PIXELS = "gym,1,10,20,40,30,1,0\n"
IN_PIXELS = "boxes: pixels\n"
IN_FRAMES = "timestamps: frames\nboxes: pixels\n"


@pytest.fixture
def make(tmp_path):
    """Function which writes a data set of one video, a folder of frames of 64 x 48 pixels."""
    names = []

    def make(csv, more="", stem="t", classes="[jump, stand, wave]"):
        folder = tmp_path / "videos/gym"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, 4):
            cv2.imwrite(str(folder / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
        (tmp_path / f"{stem}.csv").write_text(csv)
        (tmp_path / "all.csv").write_text("gym,1\n")
        path = tmp_path / f"{stem}.yaml"
        text = f"videos: videos\nannotations: {stem}.csv\nclasses: {classes}\nfps: 1\n"
        path.write_text(text + more)
        names.append(str(path))
        return str(path)

    yield make
    for name in names:
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def config(train_sets, test_sets, *opts):
    sets = ["DATASETS.TRAIN", tuple(train_sets), "DATASETS.TEST", tuple(test_sets)]
    return load_config(TOY, ["MODEL.DEVICE", "cpu", "MODEL.NUM_ACTIONS", 3, *sets, *opts])


def start(cfg, *, eval_only=False):
    check_data_sets(cfg, eval_only=eval_only, build_evaluator=Trainer.build_evaluator)


@pytest.mark.parametrize(
    "csv, more, message",
    [
        (ROW, "", None),
        (ROW + "\n,,,,,,,\n  gym ,2, 0.1, 0.2, 0.5, 0.9, 2, 0\n", "", None),
        ('"gym","1","0.1","0.2","0.5","0.9","1"\r\n', "", None),
        ("gym,01.0,0.1,0.2,0.5,0.9,1\n", "", None),
        (PIXELS, IN_PIXELS, None),
        (PIXELS, IN_FRAMES, None),
        (ROW + ROW.replace(",1,0\n", ",7,0\n"), "", ":2: action id 7: 'classes' have the ids 1 to"),
        (ROW.replace(",1,0\n", ",0,1\n"), "", "are action id (column 7) and person id (column 8)"),
        ("gym,1,0.1,0.2,0.5,0.9,17\n", "", "column 7 is the action id, and a person id may follow"),
        ("video,time,x1,y1,x2,y2,action\n" + ROW, "", ":1: this line names the columns: remove it"),
        (PIXELS, "", ":1: pixels, where fractions of the frame belong: 10, 20, 40, 30; if these"),
        (ROW, IN_PIXELS, ":1: all boxes are within 0 and 1: fractions, where pixels are declared"),
        (PIXELS + ROW.replace("gym,1", "gym,2"), IN_PIXELS, ":2: within 0 and 1, where pixels"),
        (
            "gym.avi" + ROW[3:],
            "",
            ":1: video 'gym.avi': write 'gym', the path within 'videos' with",
        ),
        ("/data/gym.mp4" + ROW[3:], "", ":1: video '/data/gym.mp4': write 'gym', the path within"),
        ("Gym" + ROW[3:], "", "video 'Gym': there is no"),
        (ROW.replace(",", ";"), "", "these columns are separated by semicolons: separate them by"),
        (ROW.replace("0.1", "inf"), "", ":1: 'inf' in column 3 (x1): expected a finite number"),
        (
            "gym,1,0.5,0.6,0.2,0.3,1\n",
            "",
            ":1: not a box, x1 >= x2 or y1 >= y2: 0.5, 0.6, 0.2, 0.3",
        ),
        ("gym,-1" + ROW[5:], "", ":1: -1 s is before the video begins at 0 s"),
        (ROW.replace(",0\n", ",0.93\n"), "", "column 8 is a person id, a whole number, not 0.93"),
        ("gym,1.5" + PIXELS[5:], IN_FRAMES, "1.5 is not a frame number 1, 2, ...; if these are"),
        (PIXELS.replace(",1,0\n", ",1\n"), IN_FRAMES, "needs a person id, a whole number, in colu"),
        ("", "", "no key frame has a usable box"),
        ("gym,1\n", "", "no key frame has a usable box"),
        (ROW, "excluded: all.csv\n", "no key frame has a usable box"),
        (PIXELS, IN_FRAMES + "excluded: all.csv\n", "no key frame has a usable box"),
    ],
)
def test_validation_and_training_agree(make, csv, more, message):
    name = make(csv, more)
    errors = [problem.text for problem in check_dataset(name).errors]
    cfg = config([name], [name], "TEST.AVA_PROTOCOL", "official_2020")
    if message is None:
        assert errors == []
        start(cfg)
        return
    with pytest.raises(UserError) as caught:
        start(cfg)
    assert message in errors[0] and str(caught.value).startswith(errors[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "csv, message",
    [
        (
            ROW + "gym,1.5,0.1,0.2,0.5,0.9,1,0\n",
            "t.csv:2: 1.5 is no whole second: the protocol off",
        ),
        (ROW + "gym,2\n", "t.csv:2: a row of two columns: the protocol official_2020 is needed"),
    ],
)
def test_what_the_default_protocol_does_not_know(make, csv, message):
    """Fault import-yaml-official: validation was content, and training stopped."""
    name = make(csv)
    checked = check_dataset(name)
    assert checked.errors == [] and checked.needs_2020.line == 2
    with pytest.raises(UserError, match="TEST.AVA_PROTOCOL in a config") as caught:
        start(config([name], [name]))
    assert message in str(caught.value)
    start(config([name], [name], "TEST.AVA_PROTOCOL", "official_2020"))
    start(config([name], []))  # no evaluation, no protocol


def test_boxes_beyond_the_frames_are_found_in_what_is_trained_on(make):
    name = make("gym,1,10,20,40,90,1,0\n", IN_PIXELS)
    assert check_dataset(name).errors == []  # which opens no video
    with pytest.raises(UserError, match=r"t\.csv:1: the box reaches beyond .*64x48 pixels"):
        start(config([name], []))


def test_a_test_set_without_a_positive_is_refused(make):
    good, other = make(ROW), make("gym,2\n", stem="empty")
    cfg = config([good], [good, other], "TEST.AVA_PROTOCOL", "official_2020")
    with pytest.raises(UserError, match=r"empty\.csv: no key frame has a usable box"):
        start(cfg, eval_only=True)
    cfg = config([good, other], [good], "TEST.AVA_PROTOCOL", "official_2020")
    with pytest.raises(UserError, match=r"empty\.csv: no key frame has a usable box"):
        start(cfg)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False  # nobody is there, and that is learned
    start(cfg)


def test_unknown_protocols_and_results_in_a_file_are_refused(make, tmp_path):
    seconds, frames = make(ROW), make(PIXELS, IN_FRAMES, stem="frames")
    for name, key in ((seconds, "TEST.AVA_PROTOCOL"), (frames, "TEST.TUBE_PROTOCOL")):
        with pytest.raises(UserError, match="unknown.* protocol 'mine'"):
            start(config([], [name], key, "mine"), eval_only=True)
    (tmp_path / "inference").touch()
    with pytest.raises(UserError, match="inference is a file; results need a folder of that name"):
        start(config([], [seconds], "OUTPUT_DIR", str(tmp_path)), eval_only=True)


def test_training_stops_before_any_work(make, monkeypatch, capsys, tmp_path):
    name = make(ROW + "gym,2\n")
    monkeypatch.setattr(train, "fetch_start", lambda *_, **__: pytest.fail("weights are fetched"))
    sets = ["DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)"]
    words = ["MODEL.DEVICE", "cpu", "MODEL.NUM_ACTIONS", "3", "OUTPUT_DIR", str(tmp_path / "out")]
    assert run_command("train", ["--config-file", TOY, *sets, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: {tmp_path}/t.csv:2: a row of two columns: the protocol" in line
    assert not (tmp_path / "out").exists()


def test_videos_that_are_trained_on_and_crowds_are_warned_of(make, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    crowd = "".join(f"gym,2,0,0,0.{n}1,1,1,{n}\n" for n in range(1, 10))
    one, other = make(ROW * 2), make(ROW + crowd, stem="other")
    start(config([one], [other], "MODEL.TUBER.NUM_QUERIES", 5))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert "t.csv:2: the same row as line 1" in messages[0]
    assert (
        "1 of 2 key frames have more persons than MODEL.TUBER.NUM_QUERIES 5, up to 9" in messages[1]
    )
    assert "other.csv:1: video 'gym' is in" in messages[2] and "mislead" in messages[2]


def test_persons_of_several_actions_are_counted_once():
    rows = ["a,1,0,0,1,1,1\n", "a,1,0,0,1,1,2\n", "a,1,0,0,0.5,1,1\n", "b,1,0,0,1,1,1\n"]
    assert persons_per_key_frame(parse_ava_csv(rows, source="rows")) == [2, 1]
