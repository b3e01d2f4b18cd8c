"""The example that runs an exported file: wrong input, and what it leaves out."""

import json
import runpy
import sys

import numpy as np
import pytest
from numbered_videos import write_video

_EXAMPLE = "tools/run_exported_model.py"
_ABOUT = {"num_frames": 2, "key_frame": 1, "frame_stride": 1, "fps": 10, "short_side": 24}
_ABOUT |= {"max_size": 64, "side_multiple": 1, "action_names": ["stand", "walk", "sit"]}


def start(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [_EXAMPLE, *map(str, arguments)])
    example = runpy.run_path(_EXAMPLE)
    scores = np.array([[[0.2, 0.9, 0.01], [0.1, 0.0, 0.3], [0.5, 0.5, 0.5]]])
    outputs = [np.zeros((1, 3, 4)), np.array([[0.6, 0.8, 0.04]]), scores]
    example["main"].__globals__["load"] = lambda path: (lambda clips: outputs, _ABOUT)
    example["main"]()


def test_what_is_below_the_least_score_is_left_out(tmp_path, monkeypatch, capsys):
    video = write_video(tmp_path / "film.mp4", 10, rate=10)
    start(monkeypatch, "model.onnx", video, 0.5)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["score"], first["actions"]) == (0.8, {"sit": 0.3, "stand": 0.1})
    assert list(second["actions"]) == ["walk", "stand"]
    start(monkeypatch, "model.onnx", video, 0.5, "--min-score", "0.7")
    (only,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (only["score"], only["actions"]) == (0.8, {})


def test_wrong_input_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "text.mp4").write_text("certainly no video " * 50)
    (tmp_path / "model.onnx").write_text("no model")
    for arguments, reason in (
        (("text.mp4", "film.mp4", 5), "text.mp4: expected an exported file, .onnx or .pt2"),
        (("model.onnx", "film.mp4", "nan"), "second must be a time in the video, got nan"),
        (("model.onnx", tmp_path / "nope.mp4", 5), "nope.mp4 cannot be read as a video (No such"),
        (("model.onnx", tmp_path / "text.mp4", 5), "text.mp4 cannot be read as a video (Invalid"),
    ):
        with pytest.raises(SystemExit) as caught:
            start(monkeypatch, *arguments)
        assert reason in f"{caught.value.code} {capsys.readouterr().err}"


def test_a_file_that_is_no_model_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_text("no model")
    monkeypatch.setattr(sys, "argv", [_EXAMPLE, str(path), "film.mp4", "5"])
    with pytest.raises(SystemExit, match="model.onnx cannot be loaded: InvalidProtobuf"):
        runpy.run_path(_EXAMPLE)["main"]()
