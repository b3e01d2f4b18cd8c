"""The tool for many videos, on a tiny model."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from numbered_videos import damage_packets, write_video

from tubedet.cli import predict
from tubedet.cli.running import run_command
from tubedet.engine import load_config
from tubedet.inference import (
    VideoActionDetector,
    VideoOutputs,
    action_names_of,
    many_videos,
    write_video_results,
)
from tubedet.inference.result_folder import run_with_settings
from tubedet.inference.writers import VideoWriter

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = str(_ROOT / "configs/quick_schedules/TubeR_toy.yaml")
_OPTS = ["MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0"]
_FORMATS = ("csv", "jsonl", "coco.json", "events.csv", "mp4")


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    for module in (predict, many_videos):
        monkeypatch.setattr(module, "log_to_console", lambda **_: None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of the toy model; it was never trained."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": build_model(load_config(_CONFIG, _OPTS)).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def video_list(tmp_path_factory):
    """Two videos of one name, and one that is none."""
    folder = tmp_path_factory.mktemp("my videos")
    for number, name in enumerate(("left/clip.mp4", "right/clip.mp4")):
        with VideoWriter(folder / name, 10) as writer:
            for frame in range(15):
                image = np.full((48, 64, 3), 90 + number, np.uint8)
                image[10:30, frame : frame + 20] = 220
                writer.write(image)
    (folder / "broken.mp4").write_text("certainly no video")
    (folder / "list.txt").write_text("left/clip.mp4\nbroken.mp4\nright/clip.mp4\n")
    return folder / "list.txt"


@pytest.fixture
def run(video_list, weights, tmp_path):
    """Runs the tool in this process."""

    def start(*options, opts=(), inputs=video_list):
        arguments = ["--config-file", _CONFIG, "--inputs", inputs, "--output", tmp_path / "out"]
        tail = [*_OPTS, "MODEL.WEIGHTS", weights, *opts]
        return run_command("predict", [str(word) for word in (*arguments, *options, *tail)])

    return start


def contents(folder):
    """Bytes of all files but the locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_every_video_is_done_and_the_broken_one_reported(
    run, video_list, weights, tmp_path, capsys, caplog, monkeypatch
):
    messages = []
    monkeypatch.setattr(predict.logger, "info", messages.append)
    out = tmp_path / "out"
    options = ("--formats", "csv,jsonl,coco,events,mp4", "--every", "0.5", "--batch-size", "2")
    assert run(*options) == 1
    results = [f"{side}_clip/{side}_clip.{kind}" for side in ("left", "right") for kind in _FORMATS]
    records = ["left_clip/video.json", "right_clip/video.json"]
    assert sorted(contents(out)) == sorted(results + records + ["failed.json", "run.json"])
    broken = str(video_list.parent / "broken.mp4")
    assert list(json.loads((out / "failed.json").read_text())) == [broken]
    printed = capsys.readouterr()
    assert (printed.out + printed.err + caplog.text).count("cannot be opened as a video") == 1
    bars = [re.search(r"(\d)/3.*?(, \d failed)?\]", bar) for bar in printed.err.split("\r")]
    shown = [bar.groups(default="") for bar in bars if bar is not None]
    assert shown == [("0", ""), ("1", ""), ("2", ", 1 failed"), ("3", ", 1 failed")]
    lines = printed.err.splitlines()
    assert lines[-2].startswith(f"failed: {broken}: cannot be opened as a video")
    assert lines[-1] == f"1 of 3 videos failed ({out / 'failed.json'})"
    assert messages[-1].startswith("2 videos, 30 frames, 3.0 seconds of video in ")
    assert "frames/s" in messages[-1]
    record = json.loads((out / "right_clip" / "video.json").read_text())
    assert record["video"] == str(video_list.parent / "right/clip.mp4")
    assert record["key_frames"] == 3 and record["frames"] == 15

    # The same as one video alone.
    cfg = load_config(_CONFIG, [*_OPTS, "MODEL.WEIGHTS", str(weights)])
    write_video_results(
        VideoActionDetector(cfg, batch_size=2),
        video_list.parent / "right/clip.mp4",
        VideoOutputs(
            predictions=tmp_path / "rows.csv",
            json_lines=tmp_path / "lines.jsonl",
            events=tmp_path / "events.csv",
        ),
        action_names=action_names_of(cfg),
        name="right_clip",
        every=0.5,
    )
    files = (("rows.csv", "csv"), ("lines.jsonl", "jsonl"), ("events.csv", "events.csv"))
    for own, name in files:
        assert (tmp_path / own).read_bytes() == (out / f"right_clip/right_clip.{name}").read_bytes()

    # Again: what is done is left alone, the broken one, repaired by now, is done.
    before = contents(out)
    broken_content = Path(broken).read_bytes()
    Path(broken).write_bytes((video_list.parent / "left/clip.mp4").read_bytes())
    monkeypatch.setattr(
        many_videos, "process_videos", counted := Counting(many_videos.process_videos)
    )
    try:
        assert run(*options) == 0
    finally:
        Path(broken).write_bytes(broken_content)
    after = contents(out)
    assert counted.settled == ["left_clip", "right_clip"]
    assert not (out / "failed.json").exists() and (out / "broken/broken.csv").exists()
    assert all(after[name] == before[name] for name in results)
    assert messages[-1] == f"the results of 3 videos are in {out}"


class Counting:
    """Notes which videos are settled when the work begins."""

    def __init__(self, process_videos):
        self.process_videos = process_videos

    def __call__(self, jobs, results, *arguments, **options):
        self.settled = [job.name for job in jobs if results.is_settled(job.name)]
        return self.process_videos(jobs, results, *arguments, **options)


def test_damaged_frames_are_in_the_record(run, tmp_path, caplog):
    write_video(tmp_path / "v.mp4", 30, rate=10, gop=1)
    damage_packets(tmp_path / "v.mp4", (4, 5, 21))
    (tmp_path / "list.txt").write_text("v.mp4\n")
    assert run(inputs=tmp_path / "list.txt") == 0
    record = json.loads((tmp_path / "out/v/video.json").read_text())
    assert (record["frames"], record["damaged_frames"]) == (30, 3)
    messages = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    expected = [f"{tmp_path / 'v.mp4'}: 3 of about 30 frames are damaged and left out"]
    expected += ["1 of 1 videos have damaged frames (damaged_frames in video.json)"]
    assert messages == expected


@pytest.mark.parametrize("gone", ["a video", "the results"])
def test_a_folder_that_disappears_on_the_way(gone, run, video_list, tmp_path, capsys, monkeypatch):
    for name in ("first.mp4", "second.mp4", "third.mp4"):
        (tmp_path / name).write_bytes((video_list.parent / "left/clip.mp4").read_bytes())
    (tmp_path / "list.txt").write_text("first.mp4\nsecond.mp4\nthird.mp4\n")
    process_video = many_videos.process_video

    def process_and_delete(detector, action_names, job, folder, detection):
        record = process_video(detector, action_names, job, folder, detection)
        if job.name == "first" and gone == "a video":
            (tmp_path / "second.mp4").unlink()
        elif job.name == "first":
            shutil.rmtree(tmp_path / "out")
        return record

    monkeypatch.setattr(many_videos, "process_video", process_and_delete)
    status = run(inputs=tmp_path / "list.txt")
    lines = capsys.readouterr().err.splitlines()
    if gone == "a video":
        assert status == 1 and (tmp_path / "out/third/third.csv").exists()
        assert lines[-2].startswith(f"failed: {tmp_path / 'second.mp4'}: cannot be opened")
        assert lines[-1].startswith("1 of 3 videos failed")
    else:
        assert status == 2 and lines[-1].endswith("No such file or directory")
        assert f"error: {tmp_path / 'out'}" in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_other_settings_are_refused(run, tmp_path, capsys, weights):
    assert run() == 1
    before = contents(tmp_path / "out")
    for options, opts, message in (
        (("--every", "0.5"), (), "every: 1.0 there, 0.5 now"),
        (("--formats", "csv"), (), "formats: ['csv', 'jsonl'] there, ['csv'] now"),
        ((), ("INPUT.MIN_SIZE_TEST", "40"), "INPUT.MIN_SIZE_TEST: 48 there, 40 now"),
        ((), ("MODEL.WEIGHTS", _changed(weights, tmp_path)), "weights: sha256 "),
    ):
        capsys.readouterr()
        assert run(*options, opts=opts) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line and "choose another folder" in line
        assert contents(tmp_path / "out") == before


def _changed(weights, folder):
    state = torch.load(weights, weights_only=True)
    next(iter(state["model"].values())).add_(1)
    torch.save(state, folder / "other.pth")
    return folder / "other.pth"


def test_results_of_another_video_are_not_taken_for_ones_own(run, video_list, tmp_path, capsys):
    (tmp_path / "one.txt").write_text(str(video_list.parent / "left/clip.mp4"))
    assert run(inputs=tmp_path / "one.txt") == 0
    (tmp_path / "two.txt").write_text(str(video_list.parent / "right/clip.mp4"))
    assert run(inputs=tmp_path / "two.txt") == 2
    assert "holds the results of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, opts, message",
    [
        (("--formats", "csv,gif"), (), "--formats: 'gif' is none of csv, jsonl, coco, events, mp4"),
        (("--every", "0"), (), "--every must be a positive number"),
        (("--batch-size", "0"), (), "--batch-size: expected a whole number from 1 on"),
        (("--explain", "sit"), (), "predict writes results alone: use tubedet demo --explain"),
        (("--address", "auto"), (), "--address is that of a Ray cluster; add --engine ray"),
        (("--inputs", "{folder}/none.txt"), (), "none.txt"),
        (("--inputs", "{video}"), (), "is no text file in UTF-8: expected a list with a video per"),
        (("--inputs", "{folder}/lost.txt"), (), "lost.txt: none of its videos exists, such as"),
        (("--output", "{folder}/lost.txt"), (), "lost.txt is a file, not a folder"),
        (("in.mp4",), (), "in.mp4 stands where config keys are expected: predict takes a text"),
        ((), ("MODEL.WEIGHTS", "none.pth"), "none.pth"),
        ((), ("MODEL.WEIGHTS", ""), "MODEL.WEIGHTS is empty"),
        ((), ("MODEL.NO_SUCH_KEY", "1"), "NO_SUCH_KEY"),
        ((), ("MODEL.WEIGHTS",), "must come in pairs"),
    ],
)
def test_bad_input_is_status_2(run, video_list, tmp_path, capsys, options, opts, message):
    (tmp_path / "lost.txt").write_text("lost.mp4\n")
    paths = {"folder": tmp_path, "video": video_list.parent / "left/clip.mp4"}
    try:
        status = run(*(option.format(**paths) for option in options), opts=opts)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_video_in_front_of_the_options_is_told(capsys):
    with pytest.raises(SystemExit):
        run_command("predict", ["in.mp4", "--config-file", _CONFIG, "--output", "results"])
    assert "for the video itself there is tubedet demo in.mp4" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_command("predict", ["--config-file", _CONFIG, "--output", "results"])
    assert "the following arguments are required: --inputs" in capsys.readouterr().err


def test_a_killed_run_goes_on(run, tmp_path):
    out = tmp_path / "out"

    fork = multiprocessing.get_context("fork")
    half_done = fork.Event()

    def process_half(detector, action_names, job, folder, detection):
        (folder / f"{job.name}.csv").write_text("half a li")
        half_done.set()
        time.sleep(600)

    def run_on_one_thread():
        torch.set_num_threads(1)  # a forked process has none of PyTorch's threads
        many_videos.process_video = process_half
        run()

    process = fork.Process(target=run_on_one_thread)
    process.start()
    assert half_done.wait(60)
    process.kill()
    process.join()
    assert any((out / ".work" / "partial").iterdir())
    assert run() == 1
    _check_csv_results(out)


def test_two_processes(video_list, weights, tmp_path):
    command = [sys.executable, "tools/predict.py", "--config-file", _CONFIG, "--num-gpus", "2"]
    command += ["--inputs", str(video_list), "--output", str(tmp_path / "out"), *_OPTS]
    command += ["MODEL.WEIGHTS", str(weights)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "1 of 3 videos failed" in ended.stderr and "3/3" in ended.stderr
    assert (ended.stdout + ended.stderr).count("cannot be opened as a video") == 1
    _check_csv_results(tmp_path / "out")


def _check_csv_results(out):
    names = {path.name for path in out.iterdir()}
    assert names - {".claims.lock", ".run.lock"} == {
        *("left_clip", "right_clip", "failed.json", "run.json")
    }
    for side in ("left", "right"):
        files = sorted(path.name for path in (out / f"{side}_clip").iterdir())
        assert files == [f"{side}_clip.csv", f"{side}_clip.jsonl", "video.json"]
        rows = (out / f"{side}_clip" / f"{side}_clip.csv").read_text().splitlines()
        assert len(rows) == 2 * 6 * 80


def test_ray_is_not_needed_until_it_is_asked_for(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("--engine", "ray") == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert "--engine ray needs the package ray: pip install 'tubedet[ray]'" in line
    assert run() == 1
    _check_csv_results(tmp_path / "out")


def test_a_run_with_ray_shares_its_folder_with_no_other(run, tmp_path, capsys):
    fork = multiprocessing.get_context("fork")
    is_open, may_end = fork.Event(), fork.Event()

    def hold(alone):
        with run_with_settings(tmp_path / "out", {}, alone=alone):
            is_open.set()
            may_end.wait(60)

    for alone, options in ((True, ()), (False, ("--engine", "ray"))):
        process = fork.Process(target=hold, args=(alone,))
        process.start()
        assert is_open.wait(60)
        assert run(*options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "another run is writing to" in line
        may_end.set()
        process.join()
        is_open.clear(), may_end.clear()


def test_two_machines_of_a_ray_cluster(run, tmp_path, capfd, monkeypatch):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(_ROOT))
    monkeypatch.chdir(tmp_path)
    assert run("--output", "elsewhere") == 1
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        options = ("--engine", "ray", "--address", cluster.address)
        capfd.readouterr()
        assert run(*options) == 1
        assert "1 of 3 videos failed" in capfd.readouterr().err
        _check_csv_results(tmp_path / "out")
        first = contents(tmp_path / "out")
        assert first == contents(tmp_path / "elsewhere")
        assert run(*options) == 1
        assert contents(tmp_path / "out") == first
    finally:
        cluster.shutdown()


def test_videos_beyond_the_limits_fail_and_the_others_go_on(run, tmp_path, capsys):
    small, large = (
        write_video(tmp_path / f"{name}.mp4", 5, size=size)
        for name, size in (("small", (48, 64)), ("large", (96, 128)))
    )
    (tmp_path / "both.txt").write_text(f"{large}\n{small}\n")
    inputs = tmp_path / "both.txt"
    assert run("--max-megapixels", "0.01", inputs=inputs) == 1
    error = capsys.readouterr().err
    assert "large.mp4: frames of 128x96 pixels, and at most 10,000 pixels are accepted" in error
    written = {path.stem for path in (tmp_path / "out").rglob("*.csv")}
    assert "small" in written and "large" not in written
    assert run("--max-minutes", "1e-9", inputs=inputs) == 1
    assert "large.mp4: takes longer than 1e-09 minutes" in capsys.readouterr().err
