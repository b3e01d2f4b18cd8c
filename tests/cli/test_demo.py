import contextlib
import itertools
import signal
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from tubedet.cli import demo
from tubedet.cli.running import run_command
from tubedet.data import ClipDatasetMapper
from tubedet.data.annotations.ava_csv import read_ava_csv
from tubedet.engine import load_config, model_loading
from tubedet.inference.drawing import ActionVisualizer

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = str(_ROOT / "configs/quick_schedules/TubeR_toy.yaml")
_OPTS = ("MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0")
_NTSC = Fraction(30000, 1001)


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    monkeypatch.setattr(demo, "log_to_console", lambda **_: None)


def _run(video_input, output, *options):
    arguments = ["--config-file", _CONFIG, "--video-input", str(video_input)]
    return run_command("demo", [*arguments, "--output", str(output), *map(str, options)])


def _run_inputs(*inputs_and_options):
    return run_command("demo", ["--config-file", _CONFIG, "--input", *map(str, inputs_and_options)])


def _decode(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames).astype(int), container.streams.video[0].average_rate


def test_video_and_predictions(video, weights, tmp_path):
    output, predictions = tmp_path / "new" / "out.mp4", tmp_path / "new" / "rows.csv"
    opts = (*_OPTS, "MODEL.WEIGHTS", weights)
    options = ("--confidence-threshold", "0", "--person-threshold", "0")
    options += ("--predictions", predictions)
    assert _run(video, output, *options, *opts) == 0
    frames, rate = _decode(output)
    assert len(frames) == 42 and rate == _NTSC
    # Colour on grey, in every frame.
    assert (np.ptp(frames, axis=-1) > 60).any(axis=(1, 2)).all()
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.mp4", "rows.csv"]

    cfg = load_config(_CONFIG, [str(option) for option in opts])
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(weights, weights_only=True)["model"])
    mapper = ClipDatasetMapper(cfg, is_train=False)
    key_frame = {"video_id": "film", "video": str(video), "fps": 30.0, "start_second": 0.0}
    table = read_ava_csv(predictions)
    assert predictions.read_text().startswith("film,0000,")
    assert set(table.timestamps.tolist()) == {0, 1} and set(table.video_ids.tolist()) == {"film"}
    for second in (0, 1):
        with torch.inference_mode():
            output = model([mapper({**key_frame, "timestamp": float(second)})])[0]["instances"]
        rows = np.flatnonzero(table.timestamps == second)
        assert len(rows) == output.action_scores.numel() == 6 * 80
        scores = output.action_scores.flatten().numpy()
        boxes = (output.pred_boxes.tensor.double().numpy() / [112, 80, 112, 80]).repeat(80, axis=0)
        np.testing.assert_allclose(table.scores[rows], scores, rtol=1e-5)
        np.testing.assert_allclose(table.boxes[rows], boxes, atol=1e-6)
        np.testing.assert_array_equal(table.action_ids[rows], np.tile(np.arange(1, 81), 6))


def test_nothing_is_drawn_below_the_threshold(video, weights, tmp_path):
    options = ("--confidence-threshold", "1.0", "--every", "0.5")
    assert _run(video, tmp_path / "out.mp4", *options, *_OPTS, "MODEL.WEIGHTS", weights) == 0
    frames, _ = _decode(tmp_path / "out.mp4")
    assert len(frames) == 42 and np.ptp(frames, axis=-1).max() < 30


def test_an_older_output_is_replaced_only_by_a_whole_one(video, tmp_path, monkeypatch):
    output, predictions = tmp_path / "out.mp4", tmp_path / "rows.csv"
    for path in (output, predictions):
        path.write_text("older")
    arguments = (video, output, "--predictions", predictions, "--every", "10", *_OPTS)
    with monkeypatch.context() as patch:
        patch.setattr(ActionVisualizer, "draw_detections", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _run(*arguments)
    assert sorted(tmp_path.iterdir()) == [output, predictions]
    assert output.read_text() == predictions.read_text() == "older"
    warnings = []
    for logger in (demo.logger, model_loading.logger):
        monkeypatch.setattr(logger, "warning", warnings.append)
    assert _run(*arguments) == 0
    assert len(_decode(output)[0]) == 42
    # Second 10 is behind the end, and second 1 was not asked for.
    assert {row.split(",")[1] for row in predictions.read_text().splitlines()} == {"0000"}
    assert len(warnings) == 1 and "weights are random" in warnings[0]


def _write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = np.zeros((1, 800), np.int16)
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


@pytest.mark.parametrize(
    "file_name, message",
    [
        ("missing.mp4", "there is no such file or folder"),
        ("text.mp4", "cannot be opened as a video"),
        ("sound.mkv", "no video stream"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, capsys, file_name, message):
    (tmp_path / "text.mp4").write_text("certainly no video " * 50)
    _write_sound(tmp_path / "sound.mkv")
    before = sorted(tmp_path.iterdir())
    assert _run(tmp_path / file_name, tmp_path / "out.mp4", *_OPTS) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert file_name in line and message in line
    assert sorted(tmp_path.iterdir()) == before


def test_missing_weights_are_status_2(video, tmp_path, capsys):
    opts = (*_OPTS, "MODEL.WEIGHTS", tmp_path / "none.pth")
    assert _run(video, tmp_path / "out.mp4", *opts) == 2
    assert "none.pth" in capsys.readouterr().err.splitlines()[-1]
    assert not any(tmp_path.iterdir())


def test_the_input_is_never_overwritten(video, tmp_path, capsys):
    content = video.read_bytes()
    (tmp_path / "link.mp4").symlink_to(video)
    other = tmp_path / "other.mp4"
    for outputs in (
        (video,),
        (video.parent / ".." / video.parent.name / video.name,),
        (tmp_path / "link.mp4",),
        (other, "--predictions", video),
        (other, "--predictions", other),
        (other, "--events", video),
    ):
        with pytest.raises(SystemExit) as caught:
            _run(video, *outputs)
        assert caught.value.code == 2
        assert "are the same file" in capsys.readouterr().err
    for source in (f"file:{video}", f"file://{video}"):
        with pytest.raises(SystemExit):
            _run(source, video)
    assert video.read_bytes() == content and not other.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--every", "0"), "--every must be a positive number"),
        (("--every", "nan"), "--every must be a positive number"),
        (("--start", "2", "--end", "1"), "--end 1.0 must be later than --start 2.0"),
        (("--start", "-1"), "--start must be"),
        (("--person-threshold", "1.5"), "--person-threshold must be in [0, 1]"),
        (("--batch-size", "0"), "--batch-size: expected a whole number from 1 on"),
        (("--max-minutes", "0"), "--max-minutes: expected a positive number, got '0'"),
        (("--max-megapixels", "nan"), "--max-megapixels: expected a positive number, got 'nan'"),
        (("--webcam",), "not allowed with argument"),
        (("MODEL.WEIGHTS",), "must come in pairs"),
    ],
)
def test_bad_options_are_status_2(video, tmp_path, capsys, options, message):
    options = [option.format(folder=tmp_path) for option in options]
    with pytest.raises(SystemExit) as caught:
        _run(video, tmp_path / "out.mp4", *options)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_several_inputs_go_to_a_folder(video, weights, tmp_path, capsys):
    frames = tmp_path / "walk"
    frames.mkdir()
    for number in range(5):
        cv2.imwrite(str(frames / f"{number:03}.png"), np.full((48, 64, 3), 80, np.uint8))
    broken = tmp_path / "films" / "broken.mp4"
    broken.parent.mkdir()
    broken.write_text("no video " * 100)
    output = tmp_path / "out"
    options = ("--fps", "5", "--output", output, "--json", output, "--coco", output)
    options += ("--predictions", output, "--events", output)
    opts = ("--opts", *_OPTS, "MODEL.WEIGHTS", weights)
    inputs = (broken.parent, video.parent / "*.mp4", frames)
    assert _run_inputs(*inputs, *options, *opts) == 2
    # The broken one is named and does not stop the others.
    assert "broken.mp4: cannot be opened as a video" in capsys.readouterr().err
    assert sorted(path.name for path in output.iterdir()) == [
        *("film.csv", "film.events.csv", "film.json", "film.jsonl", "film.mp4"),
        *("walk.csv", "walk.events.csv", "walk.json", "walk.jsonl", "walk.mp4"),
    ]
    assert len(_decode(output / "film.mp4")[0]) == 42
    images, rate = _decode(output / "walk.mp4")
    assert len(images) == 5 and rate == 5
    assert len((output / "film.jsonl").read_text().splitlines()) == 2


def test_one_input_may_go_to_a_folder_under_its_own_name(video, tmp_path):
    (tmp_path / "out").mkdir()
    assert _run(video, tmp_path / "out", "--start", "1", "--end", "1.2", *_OPTS) == 0
    assert len(_decode(tmp_path / "out" / "film.mp4")[0]) == 6


@pytest.mark.parametrize(
    "inputs, message",
    [
        (("{empty}", "--output", "out"), "neither frames nor videos"),
        (("{empty}/*.mp4", "--output", "out"), "no file matches"),
        (("{video}", "{video}", "--output", "{empty}/out"), "are the same file"),
        (("{video}", "other.mp4", "--output", "{video}"), "is a file; several inputs need"),
        (("{video}", "--output", "out", "--fps", "5"), "--fps is for folders"),
        (("{video}",), "say what is wanted"),
    ],
)
def test_unusable_inputs_and_outputs_are_status_2(video, tmp_path, capsys, inputs, message):
    with pytest.raises(SystemExit) as caught:
        _run_inputs(*(text.format(empty=tmp_path, video=video) for text in inputs))
    assert caught.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_of_videos_and_pictures_is_refused(video, tmp_path, capsys):
    (tmp_path / "film.mp4").write_bytes(video.read_bytes())
    (tmp_path / "poster.jpg").write_bytes(b"")
    with pytest.raises(SystemExit):
        _run_inputs(tmp_path, "--output", tmp_path / "out")
    assert "both images (poster.jpg) and videos (film.mp4)" in capsys.readouterr().err


def test_ctrl_c_in_a_video_that_fails_leaves_the_next_one_alone(tmp_path, video, monkeypatch):
    (tmp_path / "broken.mp4").write_text("certainly no video " * 50)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "film.mp4").write_text("older")
    run_job = demo.run_job

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        return run_job(*args)

    monkeypatch.setattr(demo, "run_job", interrupted)
    inputs = (tmp_path / "broken.mp4", video)
    assert _run_inputs(*inputs, "--output", tmp_path / "out", "--opts", *_OPTS) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.mp4"]
    assert (tmp_path / "out" / "film.mp4").read_text() == "older"


def _interrupting(monkeypatch, times, number=signal.SIGINT):
    """Sends a signal to this process after the 4th frame, and again if wanted."""
    draw, count = ActionVisualizer.draw_detections, itertools.count(1)

    def draw_and_interrupt(*args, **kwargs):
        if next(count) == 4:
            for _ in range(times):
                signal.raise_signal(number)
        return draw(*args, **kwargs)

    monkeypatch.setattr(ActionVisualizer, "draw_detections", draw_and_interrupt)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_files(video, tmp_path, monkeypatch, number):
    _interrupting(monkeypatch, 1, number)
    before = signal.getsignal(number)
    options = ("--json", tmp_path / "out.jsonl", *_OPTS)
    assert _run(video, tmp_path / "out.mp4", *options) == 130
    assert len(_decode(tmp_path / "out.mp4")[0]) == 4
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) >= 1
    assert signal.getsignal(number) is before


@pytest.fixture
def heeded_ctrl_c():
    """Ctrl-C raises KeyboardInterrupt; processes that shells start in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_drops_them(video, tmp_path, monkeypatch, capsys, heeded_ctrl_c):
    _interrupting(monkeypatch, 2)
    (tmp_path / "out.mp4").write_text("older")
    assert _run(video, tmp_path / "out.mp4", "--json", tmp_path / "out.jsonl", *_OPTS) == 130
    assert "interrupted" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "older"


def test_show_ends_when_somebody_has_seen_enough(video, monkeypatch):
    shown = []

    class Window(contextlib.AbstractContextManager):
        def __init__(self, title):
            assert title == "tubedet"

        def __exit__(self, *exc_info):
            pass

        def show(self, image):
            shown.append(image.shape)
            return len(shown) < 3

    monkeypatch.setattr(demo, "VideoWindow", Window)
    arguments = ["--config-file", _CONFIG, "--video-input", str(video), "--show", *_OPTS]
    assert run_command("demo", arguments) == 0
    assert shown == [(320, 448, 3)] * 3


def test_show_and_camera_without_such_a_thing_are_one_line(video, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "VideoWindow", lambda _: (_ for _ in ()).throw(OSError("no window")))
    common = ["--config-file", _CONFIG]
    assert run_command("demo", [*common, "--video-input", str(video), "--show", *_OPTS]) == 2
    output = ["--output", str(tmp_path / "out.mp4")]
    assert run_command("demo", [*common, "--webcam", "93", *output, "--opts", *_OPTS]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "no window" in lines[0] and "camera 93" in lines[1]
    assert not any(tmp_path.iterdir())
