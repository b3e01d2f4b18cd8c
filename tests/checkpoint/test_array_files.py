import pickle
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import torch

from tubedet.checkpoint import CheckpointError, array_files, load_checkpoint_file


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_arrays(tmp_path, compressed):
    arrays = {
        "vector": np.arange(5, dtype=np.float32),
        "column": np.arange(3.0)[:, None],
        "kernel": np.random.rand(4, 1, 3, 3, 3).astype(np.float32),
    }
    others = {"text": "abc", "cells": np.array([1, "x"], dtype=object), "nested": {"a": 1}}
    path = str(tmp_path / "x.mat")
    scipy.io.savemat(path, {**arrays, **others}, do_compression=compressed)
    found = load_checkpoint_file(path)["model"]
    assert set(found) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].numpy().dtype == value.dtype


def _mat(*elements):
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return header + b"".join(
        struct.pack("<II", 15, len(packed)) + packed for packed in map(zlib.compress, elements)
    )


def test_a_mat_bomb_is_refused_by_what_it_unpacks_to(tmp_path, monkeypatch):
    """The variable says that it is small; only unpacking shows that it is not."""
    small = tmp_path / "small.mat"
    scipy.io.savemat(small, {"conv1_w": np.zeros((1, 3), np.float32)})
    element = small.read_bytes()[128:]
    path = tmp_path / "bomb.mat"
    path.write_bytes(_mat(element + bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(array_files, "MAX_MAT_BYTES", 10_000_000)
    with pytest.raises(CheckpointError, match="unpacks to more than 10,000,000 bytes"):
        load_checkpoint_file(str(path))


def test_many_small_variables_count_together(tmp_path, monkeypatch):
    path = tmp_path / "bomb.mat"
    arrays = {f"a{i}": np.zeros((1, 200_000)) for i in range(8)}
    scipy.io.savemat(path, arrays, do_compression=True)
    monkeypatch.setattr(array_files, "MAX_MAT_BYTES", 10_000_000)
    with pytest.raises(CheckpointError, match="unpacks to more than"):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize("content", [b"", b"x" * 300, b"MATLAB 7.3".ljust(124) + b"\0\2IM"])
def test_other_matlab_files_are_refused(tmp_path, content):
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="x.mat cannot be read.*no MATLAB 5 file"):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_arrays(tmp_path, protocol):
    arrays = {
        "kernel": np.asfortranarray(np.random.rand(2, 3).astype(np.float32)),
        "big_endian": np.arange(3, dtype=">f4"),
        "lr": np.float64(0.1) * np.ones(()),
    }
    data = {"blobs": arrays, "config": {"name": "csn", "lr": np.float32(1.5)}}
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    found = load_checkpoint_file(str(path))
    for name, value in arrays.items():
        np.testing.assert_array_equal(found["model"][name], value)
    assert found["config"] == {"name": "csn", "lr": 1.5}


class _Reservation:
    def __reduce__(self):
        return np.ndarray, ((10**12,),)


def test_a_pickle_cannot_make_arrays_by_their_shape(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": _Reservation()}))
    with pytest.raises(CheckpointError, match="x.pkl cannot be read"):
        load_checkpoint_file(str(path))


def test_a_pickle_of_scalars(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"model": {"steps": np.int64(7), "scale": np.float32(0.5)}}))
    found = load_checkpoint_file(str(path))["model"]
    assert found["steps"].dtype == torch.int64 and found["steps"].item() == 7
    assert found["scale"].dtype == torch.float32 and found["scale"].item() == 0.5


_DEEP = b"K\x01" + b"2\x86" * 60  # a tuple that holds the same tuple twice, and so on


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02]r\xff\xff\xff\xff", "damaged or no pickle"),  # an index of the memo
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".", "1099511627776 bytes are"),
        (b"\x80\x02}" + _DEEP + b"K\x01s.", "is a dict key or set member"),
        (b"\x80\x02" + _DEEP + b"Q.", "it asks for .persistent id"),
        (b"\x82\x01.", "it asks for .extension 1"),
        (b"\x80\x02c_codecs\nencode\nN}X\x01\x00\x00\x00aK\x01s\x86b.", "cannot be changed"),
        (pickle.dumps({"a": np.array([len], object)}), r"it asks for .numpy.dtype\('O8'\)"),
        (pickle.dumps({"a": np.zeros(2, [("a", "f4")])}), r"it asks for .numpy.dtype\('V4'\)"),
        (
            pickle.dumps({"a": np.arange(4, dtype="u1")}, 2).replace(b"K\x04\x85", b"K\x05\x85"),
            r"shape \(5,\) has 4 bytes, not 5",
        ),
    ],
)
def test_a_prepared_pickle_is_refused(tmp_path, content, message):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"x.pkl cannot be read.*{message}") as error:
        load_checkpoint_file(str(path))
    assert len(str(error.value)) < 900 and str(error.value).count("x.pkl") == 1


def test_the_size_of_a_pickle_is_limited(tmp_path, monkeypatch):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": np.zeros(100)}))
    monkeypatch.setattr(array_files, "MAX_PICKLE_BYTES", 500)
    with pytest.raises(CheckpointError, match="bytes, more than the 500 that it may have"):
        load_checkpoint_file(str(path))


def test_long_names_do_not_flood_the_message(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"x" * 10**5: "no array"}))
    with pytest.raises(CheckpointError, match="xxx.*is a str, and there is no entry") as error:
        load_checkpoint_file(str(path))
    assert len(str(error.value)) < 600
