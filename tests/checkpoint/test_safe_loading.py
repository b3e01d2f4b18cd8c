import logging
import os
import pickle
import zipfile
from collections import Counter

import numpy as np
import pytest
import scipy.io
import torch
from detectron2.utils import logger as detectron2_logger
from safetensors.torch import save_file
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


@pytest.mark.parametrize("kind", ["archive", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, kind):
    victim = tmp_path / "made_by_exploit"
    path = tmp_path / ("evil.pkl" if kind == "pickle" else "evil.pth")
    data = {"model": {"a": torch.ones(1)}, "config": _Exploit(str(victim))}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"blobs": {"a": np.ones(1)}, "config": data["config"]}))
    else:
        torch.save(data, path, _use_new_zipfile_serialization=kind == "archive")
    with pytest.raises(CheckpointError, match=r"evil.p\w\w .*asks for \S*mkdir"):
        load_checkpoint_file(str(path))
    assert not victim.exists()


_WRITERS = {
    "cut.pth": lambda weights, path: torch.save({"model": weights}, path),
    "cut.safetensors": save_file,
    "cut.mat": lambda weights, path: scipy.io.savemat(
        path, {key: value.numpy() for key, value in weights.items()}, do_compression=True
    ),
    "cut.pkl": lambda weights, path: path.write_bytes(
        pickle.dumps({key: value.numpy() for key, value in weights.items()})
    ),
}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", _WRITERS)
def test_a_truncated_file_is_named(tmp_path, name, share):
    path = tmp_path / name
    _WRITERS[name]({"a": torch.randn(1000), "b": torch.randn(10, 10)}, path)
    content = path.read_bytes()
    assert set(load_checkpoint_file(str(path))["model"]) == {"a", "b"}
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
        load_checkpoint_file(str(path))


def test_an_archive_that_unpacks_to_more_than_it_holds_is_refused(tmp_path):
    whole, bomb = tmp_path / "whole.pth", tmp_path / "bomb.pth"
    torch.save({"model": {"a": torch.zeros(10**6)}}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as sink:
        for name in source.namelist():
            sink.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match=r"bomb.pth .*would unpack to 4,0\d\d,\d\d\d bytes"):
        load_checkpoint_file(str(bomb))


def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path):
    path = str(tmp_path / "wide.pth")
    torch.save({"model": {"a": torch.zeros(1).expand(10**9)}}, path)
    with pytest.raises(CheckpointError, match="wide.pth: a claims more elements than are stored"):
        load_checkpoint_file(path)


@pytest.mark.parametrize(
    "data, message",
    [
        ([1, 2], "holds a list"),
        ({"a": torch.ones(1), "epoch": 3}, "'epoch' is a int, and there is no entry 'model'"),
        ({"model": {"a": None}}, "'a' is a NoneType"),
    ],
)
def test_other_contents_are_refused(tmp_path, data, message):
    path = str(tmp_path / "other.pth")
    torch.save(data, path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint_file(path)


@pytest.mark.parametrize("version", ["2.6.0", "2.9.1+cu128", "2.10.0a0+git1234567"])
def test_an_older_pytorch_is_named_once_for_pickles_alone(tmp_path, monkeypatch, caplog, version):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
    monkeypatch.setattr(detectron2_logger, "_LOG_COUNTER", Counter())
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    pickled, plain = str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")
    torch.save({"model": {"a": torch.ones(2)}}, pickled)
    save_file({"a": torch.ones(2)}, plain)
    load_checkpoint_file(plain)
    assert caplog.messages == []
    for _ in range(3):
        load_checkpoint_file(pickled)
    (message,) = caplog.messages
    assert message.startswith(f"PyTorch {version} has a fault (CVE-2026-24747)")
    assert "Update to PyTorch 2.10 or newer" in message and ".safetensors" in message


@pytest.mark.parametrize("version", ["2.10.0", "2.10.0+cpu", "2.14.1", "3.0.0"])
def test_a_pytorch_without_the_fault_is_not_named(tmp_path, monkeypatch, caplog, version):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    torch.save({"model": {"a": torch.ones(2)}}, tmp_path / "a.pth")
    load_checkpoint_file(str(tmp_path / "a.pth"))
    assert caplog.messages == []
