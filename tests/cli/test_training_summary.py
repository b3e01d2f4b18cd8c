"""The last lines of a training."""

import json
import shlex
from pathlib import Path

import pytest

from tubedet.cli.running import parse_command_line
from tubedet.cli.training_summary import summary_of
from tubedet.engine import load_config

METRIC = "frame_ap/mAP@0.5IOU"


@pytest.fixture
def cfg(tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    lines = [
        {"iteration": 9, "total_loss": 1.0},
        {"iteration": 9, "frame_ap/AP-walk": 99.0, METRIC: 30.0, "validation/total_loss": 2.0},
        {"iteration": 19, METRIC: 40.25, "validation/total_loss": 3.0},
        {"iteration": 30, METRIC: 35.0, "validation/total_loss": 4.0},
    ]
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    opts = ["OUTPUT_DIR", str(folder), "TEST.EVAL_PERIOD", 10, "DATASETS.TEST", ("ava_toy_val",)]
    return load_config("", opts)


def test_time_best_figure_and_commands(cfg):
    first, figures, evaluate, detect = summary_of(cfg, num_iterations=30, seconds=3725.4).split(
        "\n  "
    )
    assert first == f"30 iterations in 1:02:05; everything is in {cfg.OUTPUT_DIR}"
    assert figures == f"{METRIC}: best 40.25 (after 20 iterations), last 35.00 (after 30)"
    weights = f"{cfg.OUTPUT_DIR}/model_final.pth"
    _, command, *words = shlex.split(evaluate.removeprefix("evaluate: "))
    options = parse_command_line(command, words)
    assert options.eval_only and options.config_file == f"{cfg.OUTPUT_DIR}/config.yaml"
    assert options.opts == ["MODEL.WEIGHTS", weights]
    _, command, *words = shlex.split(detect.removeprefix("detect:   "))
    options = parse_command_line(command, words)
    assert options.output == f"{cfg.OUTPUT_DIR}/demo" and options.opts == ["MODEL.WEIGHTS", weights]


def test_the_best_weights_are_those_of_the_metric(cfg, tmp_path):
    (tmp_path / "my run/model_best.pth").touch()
    assert "model_best" not in summary_of(cfg, num_iterations=30, seconds=1)
    cfg.merge_from_list(["TEST.BEST_METRIC", "validation/total_loss"])
    text = summary_of(cfg, num_iterations=30, seconds=1)
    assert "validation/total_loss: best 2.00 (after 10 iterations), last 4.00 (after 30)" in text
    assert text.count("model_best.pth") == 2


def test_figures_of_samples_are_not_mixed_with_those_of_everything(cfg):
    cfg.merge_from_list(["TEST.MAX_KEY_FRAMES", 5])
    assert (
        f"{METRIC}: best of samples 40.25 (after 20 iterations), last of all key frames 35.00 "
        "(after 30)"
    ) in summary_of(cfg, num_iterations=30, seconds=1)
    cfg.merge_from_list(["TEST.BEST_METRIC", METRIC])
    record = {"metric": METRIC, "value": 41.5, "iteration": 5}  # of a run before
    (Path(cfg.OUTPUT_DIR) / "model_best.json").write_text(json.dumps(record))
    assert "of samples 41.50 (after 5 iterations)," in summary_of(cfg, num_iterations=3, seconds=1)


def test_weights_that_were_not_compared_are_named(cfg, tmp_path):
    (tmp_path / "my run/model_best.pth").touch()
    cfg.merge_from_list(["TEST.BEST_METRIC", METRIC, "TEST.MAX_KEY_FRAMES", 5])
    lines = summary_of(cfg, num_iterations=30, seconds=1).split("\n  ")
    assert [line.startswith("evaluate: ") for line in lines] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert lines[3] == "model_final.pth was not among the samples that were compared:"
    assert "model_best.pth" in lines[2] and "model_final.pth" in lines[4]


def test_without_a_test_set_nothing_is_evaluated(cfg):
    cfg.merge_from_list(["DATASETS.TEST", ()])
    assert "evaluate" not in summary_of(cfg, num_iterations=30, seconds=1)


def test_without_an_evaluation_there_is_no_figure(cfg, tmp_path):
    (tmp_path / "my run/metrics.json").unlink()
    assert len(summary_of(cfg, num_iterations=1, seconds=1).splitlines()) == 3
