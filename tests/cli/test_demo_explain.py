"""Heat of actions in the videos of the demo."""

import av
import numpy as np
import pytest
from numbered_videos import write_video

from tubedet.cli import demo
from tubedet.cli.running import run_command

_CONFIG = "configs/quick_schedules/ClassQuery_toy.yaml"
_ALL = ["--confidence-threshold", "0", "--person-threshold", "0"]


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    monkeypatch.setattr(demo, "log_to_console", lambda **_: None)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "film.mp4", 15, rate=10)


def _run(film, *options, config=_CONFIG):
    words = ["--video-input", film, *options, "MODEL.DEVICE", "cpu", "SEED", "1"]
    return run_command("demo", ["--config-file", config, *map(str, words)])


def _mean_colour(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).mean((0, 1, 2))


def test_each_action_has_a_colour(film, tmp_path):
    colours = {}
    for name, words in (("none", []), ("one", ["walk"]), ("two", ["walk", "answer phone"])):
        explained = [word for action in words for word in ("--explain", action)]
        output = tmp_path / f"{name}.mp4"
        assert _run(film, "--output", output, *_ALL, *explained) == 0
        colours[name] = _mean_colour(output)
    one, two = (colours[name] - colours[other] for name, other in (("one", "none"), ("two", "one")))
    assert one[0] > one[1:].max() + 20  # redder
    assert two[1] > two[0] + 20  # greener


@pytest.mark.parametrize(
    "config, action, message",
    [
        (_CONFIG, "walc", "no action 'walc' to explain; did you mean 'walk'?"),
        (
            "configs/quick_schedules/D2_TubeR_toy.yaml",
            "walk",
            "DeformableTubeR cannot explain an action: it does not tell where it looks; "
            "ClassQueryDetector and TubeR do, with configs such as ClassQuery_CSN50_AVA22, and "
            "DeformableTubeR with MODEL.DEFORMABLE_TUBER.CONTEXT_ACTIONS True",
        ),
    ],
)
def test_what_cannot_be_explained_is_one_line(film, tmp_path, capsys, config, action, message):
    output = tmp_path / "out.mp4"
    assert _run(film, "--output", output, "--explain", action, config=config) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.partition(": error: ")[2] == message
    assert not output.exists()


def test_there_must_be_something_to_draw_on(film, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        _run(film, "--json", tmp_path / "out.jsonl", "--explain", "walk")
    assert caught.value.code == 2
    assert "--explain draws on the video: give --output or --show" in capsys.readouterr().err
