import argparse
import os
import pickle
import sys
import time
import tracemalloc
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from tubedet.checkpoint import CheckpointError
from tubedet.checkpoint.pickle_inspection import UnreadObject, inspect_pickles
from tubedet.checkpoint.safe_loading import load_checkpoint_file

# A tuple of the tuple before, twice, sixty times: 2 ** 60 steps to hash it.
DEEP = b"\x80\x02)" + b"2\x86" * 60
HASHED = {
    "key": b"\x80\x02}" + DEEP[2:] + b"K\x01s.",
    "keys": b"\x80\x02}(" + DEEP[2:] + b"K\x01u.",
    "ordered dict": b"\x80\x02ccollections\nOrderedDict\n(](" + DEEP[2:] + b"K\x01\x86etR.",
    "counter": b"\x80\x02ccollections\nCounter\n](" + DEEP[2:] + b"e\x85R.",
    "set": b"\x80\x04\x8f(" + DEEP[2:] + b"\x90.",
    "frozen set": b"\x80\x04(" + DEEP[2:] + b"\x91.",
    "storage": b"\x80\x02" + DEEP[2:] + b"Q.",
    "state": b"\x80\x02ccollections\nOrderedDict\n)R" + DEEP[2:] + b"b.",
}
MEMO = b"\x80\x02K\x01r\xff\xff\xff\x7f."  # place 2 ** 31 - 1 of a table


def archive(path, content):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
    return path


def old_file(path, content):
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    path.write_bytes(magic + content)
    return path


@pytest.mark.parametrize("write", [archive, old_file])
@pytest.mark.parametrize("name", HASHED)
def test_what_takes_for_ever_to_hash_is_refused(tmp_path, write, name):
    path = write(tmp_path / "bomb.pth", HASHED[name])
    assert path.stat().st_size < 1000
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=r"bomb\.pth cannot be read as a checkpoint: "):
        load_checkpoint_file(str(path))
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("content", [MEMO, *HASHED.values()])
def test_a_bomb_alone_is_refused(tmp_path, content):
    for name in ("bomb.pth", "bomb.pkl"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name} (cannot be read as a|holds a int)"):
            load_checkpoint_file(str(tmp_path / name))


def test_a_number_of_a_small_file_takes_no_table(tmp_path):
    # The machine in C would reserve eight bytes for each of 2 ** 31 places.
    path = archive(tmp_path / "a.pth", MEMO)
    tracemalloc.start()
    try:
        inspect_pickles(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("is_old", [False, True])
def test_usual_checkpoints_pass(tmp_path, is_old):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {"base_lrs": [0.1], "milestones": Counter([3, 5])},
        "iteration": np.float64(3),
        "cfg": CfgNode({"A": CfgNode({"B": 1})}),
        "ordered": OrderedDict(a=torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))),
        "names": ["a", "b"],
    }
    path = tmp_path / "model.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not is_old)
    inspect_pickles(path)
    loaded = load_checkpoint_file(str(path))
    torch.testing.assert_close(loaded["model"], dict(model.state_dict()))
    assert loaded["iteration"] == 3 and loaded["names"] == ["a", "b"]


class Pool:
    """As STMixer keeps the persons of a video."""

    def __init__(self):
        self.cache = defaultdict(dict, {"video": {900: [1, 2]}})


class Options(dict):
    pass


@pytest.mark.parametrize("is_old", [False, True])
def test_objects_beside_the_weights_are_left_unread(tmp_path, is_old, monkeypatch):
    options = argparse.Namespace(lr=1e-3, output=Path("a/b"), sizes=[1, (2, 3)])
    content = {"model": {"a": torch.ones(2)}, "args": options, "person_pool": Pool()}
    content |= {"config": Options(a=1), "kind": Pool, "epoch": 29}
    path = tmp_path / "tuned.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not is_old)
    stand_ins = inspect_pickles(path)
    own = __name__
    assert stand_ins["argparse.Namespace"] is stand_ins[f"{own}.Pool"] is UnreadObject
    assert stand_ins[f"{own}.Options"] is OrderedDict
    # Whatever is called has no stand-in.
    assert not {"collections.defaultdict", "pathlib.PosixPath"} & set(stand_ins)
    for module in (argparse, sys.modules[own]):  # nothing of them is made, or even looked up
        for name in ("Namespace", "Pool", "Options"):
            if hasattr(module, name):
                monkeypatch.delattr(module, name)
    loaded = load_checkpoint_file(str(path))
    assert torch.equal(loaded["model"]["a"], torch.ones(2)) and loaded["epoch"] == 29
    assert type(loaded["args"]) is type(loaded["person_pool"]) is UnreadObject
    assert not hasattr(loaded["args"], "lr") and loaded["config"] == {"a": 1}


class _Called:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("function", [os.mkdir, eval, types.SimpleNamespace, argparse.Namespace])
def test_a_call_beside_the_weights_is_refused(tmp_path, is_old, function):
    made = tmp_path / "made"
    argument = f"__import__('os').mkdir({str(made)!r})" if function is eval else str(made)
    arguments = () if "Namespace" in function.__name__ else (argument,)
    # Being an object elsewhere does not make a class callable.
    content = {"model": {"a": torch.ones(2)}, "x": argparse.Namespace(x=types.SimpleNamespace)}
    content["args"] = _Called(function, *arguments)
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not is_old)
    with pytest.raises(CheckpointError, match=rf"asks for \S*{function.__name__}\. Is the file"):
        load_checkpoint_file(str(tmp_path / "x.pth"))
    assert not made.exists()


@pytest.mark.parametrize("name", ["os\nmkdir", "builtins\neval", "argparse\nNamespace", "a\nB"])
@pytest.mark.parametrize(
    "use",
    [
        b")\x81(K\x01K\x02t" + b"b",  # a state that is a tuple
        b"}(X\x01\0\0\0aK\x01ub",  # the state of a class, not of an object
        b")\x81}X\x0c\0\0\0__setstate__K\x01sb",
        b")\x81X\x01\0\0\0aa",  # an item put at the end
    ],
)
def test_what_is_done_to_a_name_runs_nothing(tmp_path, name, use):
    pickled = b"\x80\x02}(X\x01\0\0\0xc" + name.encode() + b"\n" + use + b"u."
    path = archive(tmp_path / "x.pth", pickled)
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize("write", [archive, old_file])
@pytest.mark.parametrize(
    "use", [b"R.", b")\x81" + DEEP[2:] + b"b.", b")\x81}" + DEEP[2:] + b"K\x01sb."]
)
def test_bombs_for_stand_ins_are_refused(tmp_path, write, use):
    start = b"\x80\x02cargparse\nNamespace\n" + (DEEP[2:] if use == b"R." else b"")
    start_time = time.monotonic()
    with pytest.raises(CheckpointError, match=r"bomb\.pth cannot be read as a checkpoint: "):
        load_checkpoint_file(str(write(tmp_path / "bomb.pth", start + use)))
    assert time.monotonic() - start_time < 20


def test_many_names_are_refused(tmp_path):
    names = b"".join(b"ca\nb%d\n" % number for number in range(1001))
    with pytest.raises(CheckpointError, match="more than 1,000 different names"):
        load_checkpoint_file(str(archive(tmp_path / "x.pth", b"\x80\x02](" + names + b"e.")))


def test_objects_in_the_place_of_weights_are_refused(tmp_path):
    weights = {"a": torch.ones(2), "b": argparse.Namespace()}
    for content, reason in (
        (weights, "'b' is a UnreadObject"),
        ({"model": weights}, "'b' is a UnreadObject"),
        ({"model": argparse.Namespace(a=1)}, "'model' is a UnreadObject, and there is no entry"),
        (argparse.Namespace(a=torch.ones(2)), r"holds an object of a class .* its state_dict\(\)"),
    ):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(CheckpointError, match=reason) as caught:
            load_checkpoint_file(str(tmp_path / "x.pth"))
        assert "\n" not in str(caught.value)
