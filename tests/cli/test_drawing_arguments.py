"""Options of demo and predict about what is drawn."""

import json

import av
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from numbered_videos import write_video

from tubedet.cli import demo, predict
from tubedet.cli.running import run_command

_CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    for command in (demo, predict):
        monkeypatch.setattr(command, "log_to_console", lambda **_: None)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "film.mp4", 12, rate=10)


def _run(command, *words):
    tail = ["MODEL.DEVICE", "cpu", "SEED", "1"]
    return run_command(command, ["--config-file", _CONFIG, *map(str, words), *tail])


def _size(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.height, stream.width, sum(1 for _ in container.decode(stream))


def test_the_demo_draws_ground_truth_beside_detections(film, tmp_path):
    name = f"films of {tmp_path.name}"
    annotation = {"bbox": [5, 5, 30, 40], "bbox_mode": BoxMode.XYXY_ABS, "actions": [0]}
    record = {"video": str(film), "timestamp": 0.0, "start_second": 0, "width": 64, "height": 48}
    DatasetCatalog.register(name, lambda: [{**record, "annotations": [annotation]}])
    MetadataCatalog.get(name).action_names = ["wave"]
    plain, beside = tmp_path / "plain.mp4", tmp_path / "beside.mp4"
    more = ("--trails", "2", "--blur", "faces", "--person-threshold", "0")
    assert _run("demo", "--video-input", film, "--output", plain) == 0
    truth = ("--ground-truth", name)
    assert _run("demo", "--video-input", film, "--output", beside, *truth, *more) == 0
    (height, width, frames), (higher, wider, as_many) = map(_size, (plain, beside))
    assert frames == as_many == 12
    assert higher == height + 26 and wider == 2 * width + 4


def test_the_settings_of_a_run_have_the_drawing(film, tmp_path):
    (tmp_path / "list.txt").write_text(str(film))
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"none")
    options = ("--inputs", tmp_path / "list.txt", "--output", tmp_path / "out")
    drawn = ("--formats", "mp4", "--blur", "persons", "--trails", "1.5")
    _run("predict", *options, *drawn, "MODEL.WEIGHTS", weights)
    settings = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (settings["blur"], settings["trails"]) == ("persons", 1.5)


@pytest.mark.parametrize(
    "command, words, message",
    [
        ("demo", ["--json", "a.jsonl", "--blur", "persons"], "--blur draws on the video: give"),
        ("demo", ["--json", "a.jsonl", "--trails", "1"], "--trails draws on the video: give"),
        ("demo", ["--json", "a.jsonl", "--ground-truth", "x"], "--ground-truth draws on the video"),
        ("demo", ["--output", "a.mp4", "--trails", "-1"], "--trails must be a number of seconds"),
        ("demo", ["--output", "a.mp4", "--blur", "cats"], "invalid choice: 'cats'"),
        ("predict", ["--blur", "faces"], "--blur draws on videos: add mp4 to --formats"),
        (
            "predict",
            ["--formats", "mp4", "--trails", "nan"],
            "--trails must be a number of seconds",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(film, tmp_path, capsys, command, words, message):
    given = {
        "demo": ["--video-input", film],
        "predict": ["--inputs", tmp_path / "list.txt", "--output", tmp_path / "out"],
    }
    try:
        assert _run(command, *given[command], *words) == 2
    except SystemExit as stopped:  # of argparse
        assert stopped.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
