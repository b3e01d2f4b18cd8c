import importlib.util
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from tubedet.data import AVADatasetMapper
from tubedet.data.ava_annotations import read_ava_csv
from tubedet.engine import load_config
from tubedet.visualization import VideoWriter

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = str(_ROOT / "configs/quick_schedules/TubeR_toy.yaml")
_OPTS = ("MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0")
_NTSC = Fraction(30000, 1001)

_spec = importlib.util.spec_from_file_location("demo", _ROOT / "tools" / "demo.py")
demo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(demo)


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    monkeypatch.setattr(demo, "setup_logger", lambda **_: None)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """1.4 seconds of grey frames, 112x80 pixels, in which a bright square moves."""
    path = tmp_path_factory.mktemp("my videos") / "film.mp4"
    with VideoWriter(path, _NTSC) as writer:
        for number in range(42):
            frame = np.full((80, 112, 3), 90, np.uint8)
            frame[30:50, number : number + 20] = 220
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of the toy model; it was never trained."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": build_model(load_config(_CONFIG, _OPTS)).state_dict()}, path)
    return path


def _run(video_input, output, *options):
    arguments = ["--config-file", _CONFIG, "--video-input", str(video_input)]
    return demo.main([*arguments, "--output", str(output), *map(str, options)])


def _decode(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames).astype(int), container.streams.video[0].average_rate


def test_video_and_predictions(video, weights, tmp_path):
    output, predictions = tmp_path / "new" / "out.mp4", tmp_path / "new" / "rows.csv"
    opts = (*_OPTS, "MODEL.WEIGHTS", weights)
    options = ("--confidence-threshold", "0", "--predictions", predictions)
    assert _run(video, output, *options, *opts) == 0
    frames, rate = _decode(output)
    assert len(frames) == 42 and rate == _NTSC
    # Colour on grey, in every frame.
    assert (np.ptp(frames, axis=-1) > 60).any(axis=(1, 2)).all()
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.mp4", "rows.csv"]

    cfg = load_config(_CONFIG, [str(option) for option in opts])
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(weights, weights_only=True)["model"])
    mapper = AVADatasetMapper(cfg, is_train=False)
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
        patch.setattr(demo.ActionVisualizer, "draw_detections", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _run(*arguments)
    assert sorted(tmp_path.iterdir()) == [output, predictions]
    assert output.read_text() == predictions.read_text() == "older"
    warnings = []
    monkeypatch.setattr(demo.logger, "warning", warnings.append)
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
        ("missing.mp4", "No such file"),
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
    ):
        with pytest.raises(SystemExit) as caught:
            _run(video, *outputs)
        assert caught.value.code == 2
        assert "are the same file" in capsys.readouterr().err
    assert video.read_bytes() == content and not other.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--every", "0"), "--every must be a positive number"),
        (("--every", "nan"), "--every must be a positive number"),
        (("--predictions", "{folder}"), "is a folder"),
        (("MODEL.WEIGHTS",), "must come in pairs"),
    ],
)
def test_bad_options_are_status_2(video, tmp_path, capsys, options, message):
    options = [option.format(folder=tmp_path) for option in options]
    with pytest.raises(SystemExit) as caught:
        _run(video, tmp_path / "out.mp4", *options)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_action_names_need_no_data_set_on_disk():
    names = demo.action_names(load_config(_CONFIG))
    assert len(names) == 80 and names[13] == "walk"
    assert demo.action_names(load_config(_CONFIG, ["DATASETS.TEST", "()"]))[79] == "action 80"
    other = load_config(_CONFIG, ["MODEL.NUM_ACTIONS", "2"])
    assert demo.action_names(other) == ["action 1", "action 2"]


def test_prediction_rows():
    instances = Instances((50, 200))
    nowhere = [float("nan")] * 4
    instances.pred_boxes = Boxes(torch.tensor([[20.0, 5.0, 100.0, 50.0], nowhere, [0, 0, 1, 1]]))
    instances.action_scores = torch.tensor([[0.25, 0.0, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]])
    stream = io.StringIO()
    for key_time in (7.0, 0.1 * 3):
        demo.write_predictions(stream, "a, b", key_time, instances)
    box = "0.100000000,0.100000000,0.500000000,1.000000000"
    assert stream.getvalue().splitlines() == [
        f'"a, b",{stamp},{box},{action}'
        for stamp in ("0007", "0.3")
        for action in ("1,0.25", "3,0.5")
    ]
