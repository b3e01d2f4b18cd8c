"""A full disk is one line with its folder, and leaves what was there before."""

import errno
import os
import threading
from pathlib import Path

import pytest
import torch
from full_disk import fill_disk

from tubedet.errors import message_of
from tubedet.files import atomic_writing, full_disks
from tubedet.files.atomic_writing import PartialFile, atomic_path, open_atomically, write_json
from tubedet.files.full_disks import full_disk_told, full_disk_told_once

ENOSPC = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
LINE = "the disk is full (No space left on device); free some space and start again"


def _write_checkpoint(path):
    with open_atomically(path, "wb") as stream:
        torch.save({"weight": torch.zeros(100_000)}, stream)


def _write_text(path):
    with open_atomically(path) as stream:
        stream.write("word " * 10_000)


def _write_json(path):
    write_json({"number": list(range(10_000))}, path)


@pytest.mark.parametrize("write", [_write_checkpoint, _write_text, _write_json])
@pytest.mark.parametrize("room", [0, 5000])
def test_writers(write, room, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("older")
    fill_disk(monkeypatch, atomic_writing, room=room)
    with pytest.raises(OSError) as told:
        write(tmp_path / "file")
    assert message_of(told.value) == f"{tmp_path}: {LINE}" and told.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "older"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_when_the_file_is_stored(number, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"the disk is full \(") as told:
        with atomic_path(tmp_path / "file") as path:
            path.write_text("content")
    assert told.value.errno == number and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_device_that_is_always_full():
    with (
        pytest.raises(OSError, match="the disk is full") as told,
        open_atomically("/dev/full") as f,
    ):
        f.write("text")
    assert told.value.filename == "/dev"


def test_a_writer_that_says_nothing_of_the_disk(tmp_path, monkeypatch):
    """As PyTorch's: "unexpected pos 3075072 vs 3074960"."""

    class Disk:
        f_frsize, f_bavail = 4096, 0

    monkeypatch.setattr(full_disks.os, "statvfs", lambda folder: Disk)
    with pytest.raises(OSError, match="the disk is full"), atomic_path(tmp_path / "file"):
        raise RuntimeError("unexpected pos 3075072 vs 3074960")
    with pytest.raises(torch.OutOfMemoryError), atomic_path(tmp_path / "file"):
        raise torch.OutOfMemoryError("of the GPU")
    Disk.f_bavail = 1 << 20
    with pytest.raises(RuntimeError, match="a bug"), atomic_path(tmp_path / "file"):
        raise RuntimeError("a bug")
    assert list(tmp_path.iterdir()) == []


def test_the_first_folder_is_said(tmp_path):
    """Writers lie within each other: the outer one does not know where the disk is full."""
    (tmp_path / "inner").mkdir()
    with pytest.raises(OSError) as told, full_disk_told(tmp_path / "outer.csv"):
        with full_disk_told(tmp_path / "inner" / "video.mp4"):
            raise ENOSPC
    assert told.value.filename == str(tmp_path / "inner")


def test_other_errors_stay_as_they_are(tmp_path):
    error = PermissionError(errno.EACCES, "Permission denied", "file")
    with pytest.raises(PermissionError) as raised, full_disk_told(tmp_path):
        raise error
    assert raised.value is error
    partial = PartialFile(tmp_path / "file")
    partial.complete()
    assert partial.final_path.exists()


def test_threads_print_no_full_disk_but_all_else(tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: printed.append(arguments))

    def fail(error):
        raise error

    with full_disk_told_once(tmp_path):
        for error in (ENOSPC, KeyError("a bug")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert [arguments.exc_type for arguments in printed] == [KeyError]
