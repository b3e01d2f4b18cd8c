"""Which videos a command line names, and where their results go."""

import time
from pathlib import Path

import pytest

from tubedet.cli import demo
from tubedet.cli.demo_jobs import split_at_key
from tubedet.cli.running import parse_command_line, run_command
from tubedet.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = str(_ROOT / "configs/quick_schedules/TubeR_toy.yaml")
_ON_CPU = ["MODEL.DEVICE", "cpu"]


def test_videos_of_one_name_have_results_of_their_own(tmp_path):
    arguments = ["--config-file", _CONFIG, "--json", f"{tmp_path}/out", "--input"]
    arguments += [f"{tmp_path}/{folder}/film.mp4" for folder in ("one", "two")]
    outputs = [job.outputs.json_lines for job in parse_command_line("demo", arguments).jobs]
    assert outputs == [tmp_path / "out" / f"{folder}_film.jsonl" for folder in ("one", "two")]


def test_hundreds_of_inputs_are_compared_in_no_time(tmp_path):
    arguments = ["--config-file", _CONFIG, "--output", f"{tmp_path}/out/", "--input"]
    arguments += [str(tmp_path / f"film{number}.mp4") for number in range(1000)]
    start = time.process_time()
    assert len(parse_command_line("demo", arguments).jobs) == 1000
    assert time.process_time() - start < 10  # about 0.1 s; each against each took minutes


def test_key_parting_keeps_folders_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_at_key(["DCIM", "x"]) == ([], ["DCIM", "x"])
    (tmp_path / "DCIM").mkdir()
    assert split_at_key(["DCIM", "SEED", "1"]) == (["DCIM"], ["SEED", "1"])


@pytest.mark.parametrize(
    "source, output, message",
    [
        ("missing.mp4", "out.mp4", "missing.mp4: there is no such file or folder"),
        ("film.mp4", "out.xyz", "out.xyz: videos are not written with the suffix '.xyz'; use .mp4"),
        ("film.mp4", "out.gif", "out.gif: videos are not written with the suffix '.gif'; use .mp4"),
        ("film.mp4", "film.mp4/out.mp4", "film.mp4 is a file, not a folder"),
        ("film.mp4", "/proc/out.mp4", "/proc/out.mp4: cannot be written, as /proc takes no files"),
    ],
)
def test_files_are_looked_at_before_weights_are_fetched(
    tmp_path, monkeypatch, capsys, source, output, message
):
    monkeypatch.setattr(demo, "build_detector", lambda *_: pytest.fail("too late"))
    monkeypatch.setattr(demo, "log_to_console", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").touch()
    for option in ("--output", "--json") if output.endswith("/out.mp4") else ("--output",):
        arguments = [source, "--config-file", _CONFIG, option, output, *_ON_CPU]
        assert run_command("demo", arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_missing_video_is_named_first_and_the_others_are_done(tmp_path, monkeypatch, capsys):
    def build(*_):
        raise UserError("built")

    monkeypatch.setattr(demo, "build_detector", build)
    monkeypatch.setattr(demo, "log_to_console", lambda: None)
    (tmp_path / "film.mp4").touch()
    names = [str(tmp_path / name) for name in ("film.mp4", "missing.mp4")]
    arguments = [*names, "--config-file", _CONFIG, "--json", f"{tmp_path}/out/", *_ON_CPU]
    assert run_command("demo", arguments) == 2
    missing, built = capsys.readouterr().err.splitlines()
    assert "missing.mp4: there is no such file" in missing and "built" in built
