"""The training tool as a user starts it: in processes of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from tubedet.checkpoint import TubedetCheckpointer
from tubedet.engine import load_config

ROOT = Path(__file__).parents[2]
CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
SMALL = ["MODEL.CSN.WIDTH_MULTIPLIER", "0.125", "SOLVER.IMS_PER_BATCH", "2"]
SMALL += ["DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TRAIN", "(32,)", "INPUT.MIN_SIZE_TEST"]
SMALL += ["32", "SOLVER.WARMUP_ITERS", "2"]


def _command(output, *flags, opts=()):
    tool = [sys.executable, "tools/train_net.py", "--config-file", CONFIG]
    return [*tool, *flags, *SMALL, "OUTPUT_DIR", str(output), *opts]


@pytest.fixture
def run_tool(toy_datasets):
    environment = {**os.environ, "DETECTRON2_DATASETS": str(toy_datasets), "OMP_NUM_THREADS": "1"}

    def run(command, wait=True, status=0, variables=None):
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if not wait:
            return process
        text, _ = process.communicate(timeout=900)
        assert process.returncode == status, text
        return text

    return run


@pytest.fixture
def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def _metrics(output):
    with open(output / "metrics.json") as f:
        return [json.loads(line) for line in f]


def test_killed_training_resumes_from_the_last_whole_checkpoint(run_tool, tmp_path):
    output = tmp_path / "out"
    opts = ["SOLVER.MAX_ITER", "60", "SOLVER.CHECKPOINT_PERIOD", "4", "DATASETS.TEST", "()"]
    process = run_tool(_command(output, opts=opts), wait=False)
    deadline = time.time() + 600
    while not (output / "model_0000007.pth").exists():
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    killed = output / ".model_0000059.pth.0123456789abcdef.partial"
    killed.write_bytes(b"cut off")  # as if killed while writing

    last = (output / "last_checkpoint").read_text()
    iteration = int(re.fullmatch(r"model_(\d+)\.pth", last)[1])
    text = run_tool(_command(output, "--resume", opts=opts))
    assert f"Starting training from iteration {iteration + 1}" in text
    assert (output / "last_checkpoint").read_text() == "model_final.pth"
    assert not killed.exists()
    steps = [m["iteration"] for m in _metrics(output) if "total_loss" in m]
    assert steps[-1] == 59 and steps == sorted(steps)


def test_two_processes_train_and_evaluate_like_one(run_tool, tmp_path):
    trained = tmp_path / "two"
    opts = ["SOLVER.MAX_ITER", "3", "MODEL.TUBER.PERSON_THRESH", "0.0"]
    text = run_tool(_command(trained, "--num-gpus", "2", opts=opts))
    assert "mAP@0.5" in text
    weights = ["MODEL.WEIGHTS", str(trained / "model_final.pth")]
    alone = tmp_path / "one"
    run_tool(_command(alone, "--eval-only", opts=[*opts, *weights]))
    results = [
        json.loads((folder / "inference" / "ava_toy_val_results.json").read_text())
        for folder in (trained, alone)
    ]
    assert results[0]["mAP@0.5IOU"] == pytest.approx(results[1]["mAP@0.5IOU"], abs=1e-6)
    tables = [
        np.loadtxt(
            folder / "inference" / "ava_toy_val_predictions.csv", delimiter=",", usecols=range(1, 8)
        )
        for folder in (trained, alone)
    ]
    assert tables[0].shape == tables[1].shape and len(tables[0]) > 1000
    np.testing.assert_allclose(tables[0], tables[1], rtol=0, atol=1e-5)


def test_processes_of_torchrun_train_together(run_tool, tmp_path):
    output = tmp_path / "out"
    opts = ["SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"]
    _, *command = _command(output, opts=opts)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    run_tool([*torchrun, "--nproc_per_node", "2", *command])
    log = (output / "log.txt").read_text()
    assert "Rank of current process: 0. World size: 2" in log
    assert "Rank of current process: 1. World size: 2" in (output / "log.txt.rank1").read_text()
    assert log.count("Saving checkpoint to") == 1 and (output / "model_final.pth").exists()
    assert [m["iteration"] for m in _metrics(output) if "total_loss" in m] == [1]


# What the launchers tell each of two processes.
LAUNCHERS = {
    "srun": {
        "SLURM_JOB_ID": "PORT",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "RANK",
        "SLURM_LOCALID": "RANK",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "localhost",
    },
    "mpirun": {
        "OMPI_COMM_WORLD_RANK": "RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK": "RANK",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "PMIX_NAMESPACE": "PORT",
    },
}


def _run_both(run_tool, launcher, port, command, status=0):
    """What two processes of a launcher print."""
    processes = []
    for rank in "01":
        given = {"RANK": rank, "PORT": str(port)}
        variables = {k: given.get(v, v) for k, v in LAUNCHERS[launcher].items()}
        processes.append(run_tool(command, wait=False, variables=variables))
    texts = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [status] * 2, texts
    return texts


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_processes_of_a_launcher_train_together(launcher, run_tool, free_port, tmp_path):
    output = tmp_path / "out"
    opts = ["SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"]
    texts = _run_both(run_tool, launcher, free_port, _command(output, opts=opts))
    assert "Rank of current process: 0. World size: 2" in (output / "log.txt").read_text()
    assert ["Starting training from iteration 0" in text for text in texts] == [True, False]
    assert [m["iteration"] for m in _metrics(output) if "total_loss" in m] == [1]


def test_an_error_found_by_processes_of_a_launcher_is_one_line(run_tool, free_port, tmp_path):
    """Even after the model is shared among them."""
    command = _command(tmp_path, opts=["SOLVER.AMP.ENABLED", "True"])
    texts = _run_both(run_tool, "mpirun", free_port, command, status=2)
    assert texts[0].endswith(
        "train_net.py: error: SOLVER.AMP.DTYPE float16 needs a GPU; on the CPU use bfloat16\n"
    )
    assert "error" not in texts[1] and "terminate" not in texts[1]


def test_machines_without_a_shared_folder_are_told_so(run_tool, free_port, tmp_path):
    """In one line each, and the config of the run before stays."""
    cfg = load_config(CONFIG, SMALL)
    folders = [tmp_path / name for name in ("first", "second")]
    folders[0].mkdir()
    TubedetCheckpointer(build_model(cfg), str(folders[0])).save("model_0000007", iteration=7)
    (folders[0] / "config.yaml").write_text("OLD: 1\n")
    opts = ["DATASETS.TEST", "()", "SOLVER.MAX_ITER", "9"]
    machines = ["--num-machines", "2", "--dist-url", f"tcp://127.0.0.1:{free_port}", "--resume"]
    processes = [
        run_tool(_command(folder, *machines, "--machine-rank", str(rank), opts=opts), wait=False)
        for rank, folder in enumerate(folders)
    ]
    texts = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], texts
    for text in texts:
        (line,) = [line for line in text.splitlines() if "error" in line.lower()]
        assert re.fullmatch(
            rf"train_net.py: error: {folders[1]}/model_0000007.pth is not there \(process 1 on "
            r"\S+\); to go on with --resume, OUTPUT_DIR must be a folder that all machines share",
            line,
        )
        assert "Traceback" not in text
    assert (folders[0] / "config.yaml").read_text() == "OLD: 1\n"


def test_the_console_is_brief_and_the_files_are_complete(run_tool, tmp_path):
    output = tmp_path / "out"
    text = run_tool(_command(output, opts=["SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"]))
    assert "Warning" not in text
    assert len(text.splitlines()) < 40
    assert "TEMPORAL_POOLING" in (output / "config.yaml").read_text()
    assert "Running with full config" in (output / "log.txt").read_text()


def test_weights_that_do_not_fit_end_with_one_line(toy_datasets, tmp_path):
    weights = tmp_path / "few.pth"
    torch.save({"model": {"box_head.layers.2.bias": torch.zeros(4)}}, weights)
    command = _command(tmp_path / "out", opts=["MODEL.WEIGHTS", str(weights)])
    environment = {**os.environ, "DETECTRON2_DATASETS": str(toy_datasets)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert re.match(r"train_net.py: error: .*few.pth.*MODEL.INIT.MIN_MATCHED", last), last
    assert "Traceback" not in result.stderr + result.stdout
    (report,) = json.loads((tmp_path / "out" / "load_report.json").read_text())["sources"]
    assert report["matched"] == ["box_head.layers.2.bias"] and report["share"] < 0.01


@pytest.mark.parametrize("place", ["mine.yaml", "KEY VALUE arguments"])
def test_a_key_of_an_earlier_version_ends_with_one_line(place, tmp_path):
    path = tmp_path / "mine.yaml"
    in_file = place == "mine.yaml"
    path.write_text("MODEL: {TUBER: {NO_OBJECT_WEIGHT: 0.1}}\n" if in_file else "SEED: 1\n")
    opts = [] if in_file else ["MODEL.TUBER.NO_OBJECT_WEIGHT", "0.1"]
    command = [sys.executable, "tools/train_net.py", "--config-file", str(path), *opts]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    message = "Key MODEL.TUBER.NO_OBJECT_WEIGHT was renamed to MODEL.CRITERION.NO_OBJECT_WEIGHT"
    last = result.stderr.splitlines()[-1]
    assert re.match(f"train_net.py: error: .*{place}: {message}", last), result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_of_another_shape_is_not_resumed(run_tool, tmp_path):
    cfg = load_config(CONFIG, SMALL)
    TubedetCheckpointer(build_model(cfg), str(tmp_path)).save("model_0000007", iteration=7)
    opts = ["DATASETS.TEST", "()", "SOLVER.MAX_ITER", "9", "MODEL.TUBER.NUM_QUERIES", "10"]
    text = run_tool(_command(tmp_path, "--resume", opts=opts), status=2)
    assert re.match(
        r"train_net.py: error: .*model_0000007.pth cannot be resumed with this config: of another "
        r"shape: query_embed.weight \(\[6, 64\] in the file, \[10, 64\] in the model\)",
        text.splitlines()[-1],
    ), text[-2000:]


def test_a_config_by_name_trains_in_any_folder(toy_datasets, tmp_path):
    command = [sys.executable, str(ROOT / "tools/train_net.py"), *SMALL]
    command[2:2] = ["--config-file", "quick_schedules/TubeR_toy.yaml"]
    command += ["SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()", "OUTPUT_DIR", "out"]
    environment = {**os.environ, "DETECTRON2_DATASETS": str(toy_datasets), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/model_final.pth").exists()


@pytest.mark.parametrize("num_processes", ["1", "2"])
def test_an_error_found_by_the_processes_is_one_line(num_processes, toy_datasets, tmp_path):
    command = _command(tmp_path, "--num-gpus", num_processes, opts=["SOLVER.AMP.ENABLED", "True"])
    environment = {**os.environ, "DETECTRON2_DATASETS": str(toy_datasets), "OMP_NUM_THREADS": "1"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "train_net.py: error: SOLVER.AMP.DTYPE float16 needs a GPU; on the CPU use bfloat16\n"
    )
