import argparse
import os
import re
from pathlib import Path

import pytest
from detectron2.utils import comm

from tubedet.agreement import (
    AgreedError,
    _fingerprint,
    agreed_errors,
    check_same_file,
    check_same_value,
    of_main_process,
)
from tubedet.engine import launch_processes
from tubedet.errors import UserError

PLACE = r"process 1 on \S+"
# What ends the steps of two processes; a text may begin with the name of the other error.
EXPECTED = {
    "value of the main process": "^0$",
    "no error": "^none$",
    "user error of process 1": rf"^AgreedError a.csv: bad \({PLACE}\)$",
    "user error of all": "^AgreedError bad$",
    "fault of process 1": rf"^(AgreedError )?TypeError: \w+( \({PLACE}\))?$",
    "same file": "^none$",
    "missing file": rf"^AgreedError \S+/own1.txt is not there \({PLACE}\); share it$",
    "other file": rf"^AgreedError \S+ is not the same file .*\({PLACE}, and process 0 .*share it$",
    "file that only process 1 has": "^none$",
    "same value": "^none$",
    "other value": rf"^AgreedError rows: 5 \(process 0 .*\), but 6 \({PLACE}\); copy them$",
}


def _steps(rank, folder):
    def fail(error):
        with agreed_errors():
            if error is not None:
                raise error

    same = folder / "same.txt"
    own = folder / f"own{rank}.txt"
    of_one = f"{folder}/only{rank}.txt"
    return {
        "value of the main process": lambda: of_main_process(rank),
        "no error": lambda: fail(None),
        "user error of process 1": lambda: fail(UserError("a.csv: bad") if rank else None),
        "user error of all": lambda: fail(UserError("bad")),
        "fault of process 1": lambda: fail(TypeError("x") if rank else None),
        "same file": lambda: check_same_file(str(same), advice="share it"),
        "missing file": lambda: check_same_file(str(own), advice="share it"),
        "other file": lambda: check_same_file(str(folder / f"other{rank}.txt"), advice="share it"),
        "file that only process 1 has": lambda: check_same_file(of_one, advice="share it"),
        "same value": lambda: check_same_value(5, what="rows", advice="copy them"),
        "other value": lambda: check_same_value(5 + rank, what="rows", advice="copy them"),
    }


def _take_steps(args):
    """One after the other: a step in which a process waited for the other would be the last."""
    rank = comm.get_rank()
    lines = []
    for name, step in _steps(rank, args.folder).items():
        try:
            result = step()
            lines.append(f"{name}\t{'none' if result is None else result}")
        except AgreedError as error:
            lines.append(f"{name}\tAgreedError {error}")
        except TypeError as error:
            lines.append(f"{name}\tTypeError: {error}")
    (args.folder / f"result{rank}").write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path):
    for name, content in {
        "same": "s",
        "own0": "o",
        "other0": "a",
        "other1": "b",
        "only1": "c",
    }.items():
        (tmp_path / f"{name}.txt").write_text(content)
    return tmp_path


def test_two_processes_agree(folder):
    args = argparse.Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto")
    args.folder = folder
    launch_processes(_take_steps, args, "cpu")
    results = []
    for rank in (0, 1):
        lines = (folder / f"result{rank}").read_text().splitlines()
        results.append(dict(line.split("\t") for line in lines))
        assert results[rank].keys() == EXPECTED.keys()
    for name, pattern in EXPECTED.items():
        for result in results:
            assert re.search(pattern, result[name]), (name, result[name])
    assert results[0]["fault of process 1"].startswith("AgreedError TypeError: x")
    assert results[1]["fault of process 1"] == "TypeError: x"


def test_a_process_alone_agrees_with_itself(folder):
    assert of_main_process(3) == 3
    check_same_file(str(folder / "nothing.txt"), advice="")  # whoever loads it says so
    check_same_value(5, what="", advice="")
    with pytest.raises(FileNotFoundError), agreed_errors():
        Path(folder, "nothing.txt").read_text()


def test_a_file_of_which_the_end_differs_is_another_one(tmp_path):
    content = os.urandom(3 << 20)
    files = {
        "a": content,
        "copy": content,
        "longer": b"x" + content,
        "end": content[:-1] + bytes([content[-1] ^ 1]),
    }
    prints = {}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        prints[name] = _fingerprint(str(tmp_path / name))
    assert prints["a"] == prints["copy"]
    assert len(set(prints.values())) == 3
    assert isinstance(_fingerprint(str(tmp_path)), IsADirectoryError)
