import os
import pickle

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from tubedet.checkpoint import CheckpointError, load_checkpoint_file


class _Exploit:
    """Would create a file if it were unpickled the ordinary way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_released_checkpoint_with_its_yacs_config_is_read(tmp_path):
    path = str(tmp_path / "released.pth")
    config = CfgNode({"MODEL": CfgNode({"NAME": "x", "SIZES": [1, (2, 3)]}), "LR": 1e-4})
    config.freeze()
    torch.save(
        {
            "model": {"module.a": torch.ones(2)},
            "config": config,
            "max_accuracy": np.float64(0.27),
            "epoch": 19,
        },
        path,
    )
    data = load_checkpoint_file(path)
    assert torch.equal(data["model"]["module.a"], torch.ones(2))
    assert type(data["config"]).__module__ == "collections"  # no config object was made
    assert data["epoch"] == 19


def test_a_bare_state_dict_is_wrapped(tmp_path):
    path = str(tmp_path / "bare.pth")
    torch.save({"a": torch.ones(1), "model.b": torch.zeros(1)}, path)
    assert set(load_checkpoint_file(path)) == {"model"}
    assert set(load_checkpoint_file(path)["model"]) == {"a", "model.b"}


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    victim = tmp_path / "made_by_exploit"
    path = str(tmp_path / "evil.pth")
    torch.save({"model": {"a": torch.ones(1)}, "config": _Exploit(str(victim))}, path)
    with pytest.raises(CheckpointError, match=r"evil.pth .*asks for \S*mkdir"):
        load_checkpoint_file(path)
    assert not victim.exists()


def test_pickles_are_refused_unread(tmp_path):
    victim = tmp_path / "made_by_exploit"
    path = tmp_path / "zoo.pkl"
    path.write_bytes(pickle.dumps(_Exploit(str(victim))))
    with pytest.raises(CheckpointError, match="plain pickles"):
        load_checkpoint_file(str(path))
    assert not victim.exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, share):
    whole = tmp_path / "whole.pth"
    torch.save({"model": {"a": torch.ones(1000)}}, whole)
    content = whole.read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="cut.pth cannot be read"):
        load_checkpoint_file(str(path))


def test_other_contents_are_refused(tmp_path):
    path = str(tmp_path / "list.pth")
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint_file(path)
