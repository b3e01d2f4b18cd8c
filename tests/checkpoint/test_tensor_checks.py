"""Tensors in files that can be no weights, or would become none."""

import pickle
import struct
import warnings

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file
from torch import nn

from tubedet.checkpoint import CheckpointError, TubedetCheckpointer, load_checkpoint_file

NOT_FINITE = torch.tensor([1.0, float("nan"), float("-inf")])


def _make_unusable():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "nan": (NOT_FINITE, "has 2 of 3 numbers that are NaN or infinite"),
            "nan in half": (NOT_FINITE.half(), "has 2 of 3 numbers that are NaN or infinite"),
            "nan in bfloat16": (NOT_FINITE.bfloat16(), "has 2 of 3 numbers"),
            "nan in a parameter": (nn.Parameter(NOT_FINITE), "has 2 of 3 numbers"),
            "complex": (torch.ones(2, dtype=torch.complex64), "holds complex numbers"),
            "sparse": (torch.eye(3).to_sparse(), "is a sparse tensor .torch.sparse_coo.*to_dense"),
            "sparse rows": (torch.eye(3).to_sparse_csr(), "is a sparse tensor .torch.sparse_csr"),
            "meta": (torch.empty(3, device="meta"), "has no numbers .device 'meta'"),
            "quantised": (
                torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
                "is quantised .torch.quint8.; save the weights in float32",
            ),
            "float8": (torch.ones(3).to(torch.float8_e4m3fn), "is quantised .torch.float8_e4m3fn"),
            "nested": (
                torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]),
                "is a nested tensor",
            ),
            "expanded": (torch.zeros(1).expand(10**9), "claims more elements than are stored"),
        }


UNUSABLE = _make_unusable()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tensor, message", UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_weight_is_refused_with_file_and_key(tmp_path, tensor, message):
    path = str(tmp_path / "bad.pth")
    torch.save({"model": {"good": torch.ones(1), "layer.weight": tensor}}, path)
    with pytest.raises(CheckpointError, match=f"bad.pth: layer.weight {message}") as caught:
        load_checkpoint_file(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    torch.save({"model": {"good": torch.ones(1)}, "model_ema": {"layer.weight": tensor}}, path)
    for averaged in (False, True):
        with pytest.raises(CheckpointError, match=f"bad.pth: layer.weight {message}"):
            load_checkpoint_file(path, averaged=averaged)


def test_all_formats_are_looked_at(tmp_path):
    save_file({"a.b": NOT_FINITE}, tmp_path / "bad.safetensors")
    array = NOT_FINITE.double().numpy()
    scipy.io.savemat(tmp_path / "bad.mat", {"a_b": array})
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"model": {"a.b": array}}))
    for ending in ("safetensors", "mat", "pkl"):
        with pytest.raises(CheckpointError, match=rf"bad.{ending}: a.b has 2 of 3 numbers that"):
            load_checkpoint_file(str(tmp_path / f"bad.{ending}"))
    scipy.io.savemat(tmp_path / "bad.mat", {"a_b": np.ones((2, 2), complex)})
    with pytest.raises(CheckpointError, match="bad.mat: a_b holds complex numbers .complex128"):
        load_checkpoint_file(str(tmp_path / "bad.mat"))
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"model": {"a.b": np.ones(2, np.longdouble)}}))
    with pytest.raises(CheckpointError, match="bad.pkl: a.b is an array of (float128|longdouble)"):
        load_checkpoint_file(str(tmp_path / "bad.pkl"))


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_files_of_numpy_are_named(tmp_path, name):
    save = np.savez if name == "x.npz" else np.save
    save(tmp_path / name, np.array([len, None], object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read.*\(\.np\w\) are not read"):
        load_checkpoint_file(str(tmp_path / name))


def test_usable_tensors_load_whatever_their_precision_and_strides(tmp_path):
    weight = torch.randn(3, 2)
    shared = torch.randn(10)
    for value in (
        weight.double(),
        weight.half().float(),
        weight.bfloat16(),
        nn.Parameter(weight),
        weight.t().contiguous().t(),
        torch.stack([weight, weight])[1],
    ):
        torch.save({"model": {"weight": value, "bias": shared[2:5]}}, tmp_path / "good.pth")
        model = nn.Linear(2, 3)
        TubedetCheckpointer(model).load(str(tmp_path / "good.pth"))
        assert torch.equal(model.weight, value.float())
        assert torch.equal(model.bias, shared[2:5])
        assert model.weight.requires_grad and model.weight.is_contiguous()
    torch.save({"model": {"a": torch.ones(0, 3)}}, tmp_path / "empty.pth")
    assert load_checkpoint_file(str(tmp_path / "empty.pth"))["model"]["a"].shape == (0, 3)


@pytest.mark.parametrize(
    "value, message",
    [
        (
            torch.ones(3, 2, dtype=torch.int8),
            "weight holds whole numbers .torch.int8., not",
        ),
        (torch.ones(3, 2, dtype=torch.bool), "weight holds whole numbers .torch.bool."),
        (
            torch.full((3, 2), 1e300, dtype=torch.float64),
            "weight has 6 of 6 numbers that are NaN or infinite in the model's precision",
        ),
    ],
)
def test_what_the_model_cannot_hold_is_refused(tmp_path, value, message):
    torch.save({"model": {"weight": value, "bias": torch.ones(3)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=f"other.pth: {message}"):
        TubedetCheckpointer(nn.Linear(2, 3)).load(str(tmp_path / "other.pth"))


def test_numbers_too_large_for_half_are_refused_by_a_model_in_half(tmp_path):
    path = str(tmp_path / "x.pth")
    torch.save({"model": nn.Linear(2, 3).state_dict() | {"bias": torch.full((3,), 1e5)}}, path)
    with pytest.raises(CheckpointError, match="bias has 3 of 3 .* precision, torch.float16"):
        TubedetCheckpointer(nn.Linear(2, 3).half()).load(path)


def test_whole_numbers_that_matlab_stores_in_bytes_are_weights(tmp_path):
    """MATLAB writes fractions that are whole in as few bytes as hold them; scipy does not."""
    header = struct.pack("<IIIIII", 6, 8, 6, 0, 5, 8) + struct.pack("<II", 1, 3)  # class 6: double
    name = struct.pack("<HH", 1, 1) + b"a\0\0\0"
    data = struct.pack("<HH", 2, 3) + bytes([1, 2, 3, 0])  # type 2: bytes
    element = header + name + data
    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    content += struct.pack("<II", 14, len(element)) + element
    (tmp_path / "x.mat").write_bytes(content)
    found = load_checkpoint_file(str(tmp_path / "x.mat"))["model"]["a"]
    assert found.dtype == torch.float64 and found.tolist() == [1.0, 2.0, 3.0]
