"""What all commands that take --config-file have in common."""

import importlib
import sys
from pathlib import Path

import pytest

from tubedet.cli.running import run_command

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = str(_ROOT / "configs/quick_schedules/TubeR_toy.yaml")
_LAUNCHERS = {
    "torchrun": ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    "mpirun": [f"OMPI_COMM_WORLD_{n}" for n in ("RANK", "LOCAL_RANK", "SIZE", "LOCAL_SIZE")],
    "srun": ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_STEP_TASKS_PER_NODE"],
}
# What each needs besides the config.
_ARGUMENTS = {
    "benchmark inference": ["--task", "inference"],
    "benchmark processes": ["--task", "processes"],
    "benchmark scaling": ["--task", "scaling"],
    "benchmark train": ["--task", "train"],
    "demo": ["--video-input", "film.mp4", "--json", "out.jsonl"],
    "export": ["--format", "onnx", "--output", "out.onnx"],
    "predict": ["--inputs", "list.txt", "--output", "out"],
    "train": ["OUTPUT_DIR", "out"],
    "visualize": ["--output", "out"],
    "web": [],
}


@pytest.fixture(params=_ARGUMENTS)
def run(request, tmp_path, monkeypatch):
    """Runs a command in an empty folder; returns its exit status."""
    name = request.param.split()[0]
    if name == "web":
        pytest.importorskip("gradio")
    module = importlib.import_module(f"tubedet.cli.{name}")
    # detectron2 keeps the stream of the first call, which pytest closes.
    monkeypatch.setattr(module, "log_to_console", lambda **_: None, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("film.mp4\n")
    monkeypatch.setattr("sys.argv", ["command.py"])
    monkeypatch.setattr("sys.path", list(sys.path))

    def start(config, *opts):
        arguments = _ARGUMENTS[request.param]
        return run_command(name, ["--config-file", config, *arguments, *opts])

    return start


def _error(capsys):
    """The one line that was printed, without the name of the tool."""
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    tool, _, message = line.partition(": error: ")
    assert tool in ("command.py", "benchmark.py") and out == ""
    return message


@pytest.mark.parametrize("through_base", [False, True])
def test_no_code_in_a_config_is_run(run, through_base, capsys):
    code = '!!python/object/apply:os.system ["touch it_ran"]'
    Path("strange.yaml").write_text(f"SEED: 1\nOUTPUT_DIR: {code}\n")
    Path("above.yaml").write_text("_BASE_: strange.yaml\n")
    assert run("above.yaml" if through_base else "strange.yaml") == 2
    message = _error(capsys)
    assert message.startswith("strange.yaml:2: ") and "os.system" in message
    assert {path.name for path in Path().iterdir()} == {"strange.yaml", "above.yaml", "list.txt"}


def test_a_config_that_does_not_exist_is_named(run, capsys):
    assert run("none.yaml") == 2
    assert "config file none.yaml does not exist" in _error(capsys)


@pytest.mark.parametrize("launcher", _LAUNCHERS)
def test_processes_of_a_launcher_do_not_all_do_the_same(
    run, launcher, request, monkeypatch, capsys
):
    if request.node.callspec.params["run"] == "train":
        pytest.skip("its processes work together")
    for name, value in zip(_LAUNCHERS[launcher], "1122"):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert run(_CONFIG) == 2
    assert f"{launcher} has started 2 processes" in _error(capsys)
    assert [path.name for path in Path().iterdir()] == ["list.txt"]


# Wrong values, and what the one line says; a picture of the ground truth needs no model.
_WRONG = {
    "SOLVER.BASELR=0.1": "there is no key SOLVER.BASELR; did you mean SOLVER.BASE_LR?",
    "MODEL.DEVICE=cuda:77": "device 'cuda:77': no such GPU",
    "MODEL.DEVICE=gpu": "device 'gpu' is none of PyTorch's; give cpu, cuda or cuda:1",
    "MODEL.META_ARCHITECTURE=TuberR": "'TuberR', which does not exist; did you mean TubeR?",
    "MODEL.NUM_ACTIONS=0": "MODEL.NUM_ACTIONS is 0; give at least 1",
}


@pytest.mark.parametrize("wrong", _WRONG)
def test_a_wrong_value_is_one_line_before_any_work(run, wrong, request, capsys):
    if request.node.callspec.params["run"] == "visualize" and "BASELR" not in wrong:
        pytest.skip("it builds no model")
    if request.node.callspec.params["run"] == "export" and "DEVICE" in wrong:
        pytest.skip("an ONNX file knows no device")
    Path("film.mp4").write_bytes(b"never opened")
    device = [] if "DEVICE" in wrong else ["MODEL.DEVICE", "cpu"]
    assert run(_CONFIG, *device, wrong) == 2
    assert _WRONG[wrong] in _error(capsys)
    assert {path.name for path in Path().iterdir()} == {"list.txt", "film.mp4"}


def test_a_config_in_python_is_refused(run, capsys):
    Path("lazy.py").write_text("model = dict()\n")
    assert run("lazy.py") == 2
    assert "lazy.py: a LazyConfig in Python; tubedet takes yaml files" in _error(capsys)
