"""Growth of cost and work along the axes."""

import argparse

import cv2
import pytest
from benchmarking import scaling
from benchmarking.scaling_figure import draw_scaling

ARGUMENTS = ["--config-file", "configs/quick_schedules/TubeR_toy.yaml", "--warmup", "0"]
ARGUMENTS += ["--frames", "8", "4", "--short-sides", "24", "32", "--batch-sizes", "1", "3"]
ARGUMENTS += ["--key-frames", "1", "3", "--matrix-size", "64"]
OPTS = ["MODEL.DEVICE", "cpu", "MODEL.TUBER.ENC_LAYERS", "1", "MODEL.TUBER.DEC_LAYERS", "1"]
OPTS += ["INPUT.MIN_SIZE_TEST", "32"]


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    parser.set_defaults(seed=0, repeats=1)
    scaling.add_arguments(parser)
    return parser.parse_args([*ARGUMENTS, *arguments, *OPTS])


class KnownTraining:
    """Two processes need 1.25 times as long for two clips as one needs for one."""

    def __init__(self, run, num_processes, threads, on_cpu):
        assert on_cpu and run.batch_size == 1
        self.number = num_processes

    def measure(self, warmup, iterations):
        assert (warmup, iterations) == (0, 1)
        speed = {1: 4.0, 2: 6.4}[self.number]
        return {
            "clips_per_second": speed,
            "cpu_s_per_clip": 0.2,
            "peak_growth_mb": 100 * self.number,
        }


def test_axes(in_this_process, monkeypatch, tmp_path):
    calls = in_this_process(scaling)
    monkeypatch.setattr(scaling, "TrainingInProcesses", KnownTraining)
    picture = tmp_path / "growth.png"
    result = scaling.run(parsed("--picture", str(picture)))
    assert [name for _, name in calls[:4]] == ["measure", "measure", "totals", "totals"]
    assert calls[0][0] is not calls[1][0]  # the two sizes take turns
    axes = result["axes"]
    values = {name: [point["value"] for point in axis["points"]] for name, axis in axes.items()}
    assert values == {
        "frames": [4, 8],
        "short side": [24, 32],
        "clips of a batch": [1, 3],
        "key frames of a video": [1, 3],
        "processes that train": [1, 2],
    }
    gflop = {name: [point["gflop"] for point in axis["points"]] for name, axis in axes.items()}
    assert gflop["frames"][1] == gflop["short side"][1] == gflop["clips of a batch"][0]
    assert gflop["clips of a batch"][1] == pytest.approx(3 * gflop["clips of a batch"][0])
    # Every second has one key frame, and each costs what a clip costs.
    assert gflop["key frames of a video"] == pytest.approx(gflop["clips of a batch"])
    assert 1.5 < axes["frames"]["growth"]["work"] < 2.1
    processes = axes.pop("processes that train")
    assert processes["growth"] == {"work": 2, "time": pytest.approx(1.25), "memory": 2}
    assert processes["points"][0]["gflop"] > 2 * gflop["clips of a batch"][0]  # backward, too
    for axis in axes.values():
        times = [point["cpu_s"]["min"] for point in axis["points"]]
        assert axis["growth"]["time"] == pytest.approx(times[1] / times[0])
    assert "key frames of a video" in scaling.table(result)
    assert cv2.imread(str(picture)).shape[:2] == (510, 2400)


def test_picture_shows_the_curves(tmp_path):
    def axis(memory):
        points = [
            {"value": n, "gflop": n, "time": "cpu_s", "cpu_s": {"min": n}, "peak_growth_mb": m}
            for n, m in zip((1, 2), memory)
        ]
        return {"points": points}

    pictures = []
    for name, memory in (("flat", (5, 5)), ("steep", (5, 50))):
        draw_scaling({"config": "X", "axes": {"a": axis(memory)}}, tmp_path / f"{name}.png")
        pictures.append(cv2.imread(str(tmp_path / f"{name}.png")))
    assert (pictures[0] != pictures[1]).any()
    with pytest.raises(ValueError, match="format"):
        draw_scaling({"config": "X", "axes": {"a": axis((5, 5))}}, tmp_path / "growth.word")


def test_folder_of_the_picture_is_looked_for_first(tmp_path):
    with pytest.raises(FileNotFoundError, match="--picture: there is no folder .*absent"):
        scaling.run(parsed("--picture", str(tmp_path / "absent" / "growth.png")))
