import pickle
import time
import tracemalloc
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from tubedet.checkpoint import CheckpointError
from tubedet.checkpoint.pickle_inspection import inspect_pickles
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
