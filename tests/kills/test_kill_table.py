"""The tool that kills commands finds what does not hold, and import survives every place."""

import dataclasses
import json

import pytest

from kills.commands import commands
from kills.kill_table import Kill, Killer, main, table


@pytest.fixture(scope="module")
def command_named(tmp_path_factory):
    """Finds a command by its name."""
    found = {c.name: c for c in commands(tmp_path_factory.mktemp("inputs"))}
    return found.__getitem__


def test_import_is_killed_at_each_of_its_file_operations(command_named, tmp_path):
    killer = Killer(command_named("import"), tmp_path)
    assert killer.num_operations >= 8  # two files: made, renamed
    num_leftovers = 0
    for number in range(killer.num_operations):
        share = (number + 0.5) / killer.num_operations
        kill = killer.kill(share, by_operation=True, victim="main")
        assert (kill.faults, kill.is_early) == ([], True), kill
        num_leftovers += kill.num_leftovers
    assert num_leftovers >= 3  # so that there was something to clean
    assert [path.name for path in tmp_path.iterdir()] == ["001"]


def test_what_does_not_hold_is_reported(command_named, tmp_path):
    def read_what_is_half(folder):
        return json.loads((folder / "out/my.csv").read_text())

    command = dataclasses.replace(
        command_named("import"),
        faults=lambda folder: ["half a file"],
        faults_at_end=read_what_is_half,
        next_arguments=["import", "coco-video", "nothing.json"],
    )
    kill = Killer(command, tmp_path).kill(0.5, by_operation=False, victim="main")
    assert kill.faults[0] == "half a file" and kill.faults[2] == "half a file"
    assert kill.faults[1].startswith("the next run ended with status 2: ")
    assert kill.faults[3].startswith("JSONDecodeError") and "partial is left" not in str(kill)


def test_the_table_has_a_row_for_each_command():
    kills = [
        Kill("train", "1 s", 0.05, seconds=0.4),
        Kill("train", "2 s", 0.951, seconds=0.2, num_leftovers=2),
        Kill("train", "3 s", 1.0, is_early=False),
        Kill("web", "1 s", 0.5, faults=["x is left", "half"]),
    ]
    assert table(kills).splitlines()[2:] == [
        "| train | 3 | 2 | 5 … 95 % | 0.40 s | 2, 0 | 0 |",
        "| web | 1 | 1 | 50 … 50 % | 0.00 s | 0, 1 | 1 |",
    ]


@pytest.mark.long
def test_commands_survive_a_hundred_kills(toy_datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_datasets))
    assert main(["--kills", "100", "--output", str(tmp_path)]) == 0
