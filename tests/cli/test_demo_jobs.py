"""Which videos a command line names, and where their results go."""

import time
from pathlib import Path

from tubedet.cli.demo_jobs import split_at_key
from tubedet.cli.running import parse_command_line

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = str(_ROOT / "configs/quick_schedules/TubeR_toy.yaml")


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
