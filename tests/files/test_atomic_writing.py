import contextlib
import json
import multiprocessing
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from tubedet.files.atomic_writing import (
    PartialFile,
    atomic_folder,
    atomic_path,
    open_atomically,
    write_json,
)

FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def path_of_stream(path):
    """:func:`open_atomically` as if it gave a path."""
    with open_atomically(path) as stream:
        yield Path(stream.name)


BOTH = pytest.mark.parametrize("writing", [path_of_stream, atomic_path])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError), open_atomically(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert path.read_text() == "before"
    with open_atomically(path) as stream:
        stream.write("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf8_with_the_line_ends_as_written(tmp_path):
    path = tmp_path / "file.txt"
    with open_atomically(path) as stream:
        stream.write("größe\r\n\n")
    assert path.read_bytes() == b"gr\xc3\xb6\xc3\x9fe\r\n\n"
    with open_atomically(path, "wb") as stream:
        stream.write(b"\xff\n")
    assert path.read_bytes() == b"\xff\n"


def test_json(tmp_path):
    path = tmp_path / "file.json"
    write_json({"a": [1, None]}, path)
    assert path.read_text() == '{\n "a": [\n  1,\n  null\n ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, path)
    assert json.loads(path.read_text()) == {"a": [1, None]} and names(tmp_path) == ["file.json"]


def test_a_path_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and names(tmp_path) == ["film.mp4"]
    with atomic_path(path) as partial:
        assert partial.read_bytes() == b"" and partial.parent == tmp_path
        partial.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after" and names(tmp_path) == ["film.mp4"]


def test_a_writer_may_replace_the_temporary_file(tmp_path):
    path = tmp_path / "file.bin"
    path.touch()
    new_mode = stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    for mode in (new_mode, 0o640):
        with atomic_path(path) as partial:
            (tmp_path / "other").write_text(f"{mode}")
            (tmp_path / "other").chmod(0o600)
            os.replace(tmp_path / "other", partial)
        assert path.read_text() == f"{mode}" and names(tmp_path) == ["file.bin"]
        assert stat.S_IMODE(path.stat().st_mode) == mode
        path.chmod(0o640)


def test_suffixes_are_for_writers_that_look_at_them(tmp_path):
    # detectron2 takes every file of the folder that ends with .pth for a checkpoint.
    with open_atomically(tmp_path / "model.pth") as stream:
        (name,) = names(tmp_path)
        assert name == os.path.basename(stream.name)
        assert name.startswith(".model.pth.") and name.endswith(".partial")
    with atomic_path(tmp_path / "a.tar.gz") as partial:
        assert partial.name.startswith(".a.tar.") and partial.suffix == ".gz"


@BOTH
def test_names_as_long_as_file_systems_allow(tmp_path, writing):
    for name in ("x" * 251 + ".mp4", "ö" * 125 + ".mp4", "x" * 255):
        with writing(tmp_path / name) as partial:
            partial.write_text(name)
            assert len(os.fsencode(partial.name)) <= 255
        assert (tmp_path / name).read_text() == name


@BOTH
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_new_files_have_the_permissions_of_new_files(tmp_path, writing, umask):
    path = tmp_path / "a"
    before = os.umask(umask)
    try:
        with writing(path) as partial:
            assert stat.S_IMODE(partial.stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@BOTH
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_a_file_keeps_its_permissions(tmp_path, writing, mode):
    path = tmp_path / "a"
    path.write_text("before")
    path.chmod(mode)
    with writing(path) as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == mode | 0o600  # never more open than that
        partial.write_text("after")
    assert path.read_text() == "after" and stat.S_IMODE(path.stat().st_mode) == mode


@BOTH
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, writing):
    disk, folder = tmp_path / "disk", tmp_path / "folder"
    disk.mkdir()
    folder.mkdir()
    link = folder / "link"
    link.symlink_to("../disk/file")
    for text in ("made", "replaced"):  # first it leads to nothing
        with writing(link) as partial:
            assert partial.parent == disk
            partial.write_text(text)
        assert link.is_symlink() and (disk / "file").read_text() == text
    assert names(disk) == ["file"] and names(folder) == ["link"]


@BOTH
def test_devices_and_pipes_are_written_to_directly(tmp_path, writing):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    with writing(fifo) as partial:
        if writing is atomic_path:
            partial.write_text("text")
    reader.join(timeout=60)
    assert read == ["text" if writing is atomic_path else ""] and names(tmp_path) == ["fifo"]
    with writing("/dev/null") as partial:
        partial.write_text("text")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with writing("/dev/stdout") as partial:  # a link, here perhaps to a file
        assert partial == Path("/dev/stdout")


@BOTH
def test_errors_name_the_file_that_was_asked_for(tmp_path, writing):
    for path, error in (
        (tmp_path / "absent" / "a.txt", FileNotFoundError),
        (tmp_path, IsADirectoryError),
    ):
        with pytest.raises(error, match=f"'{path}'$"), writing(path):
            pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError), writing(tmp_path / "file" / "a.txt"):
        pass
    assert names(tmp_path) == ["file"]


def test_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    for function in ("fsync", "replace"):
        original = getattr(os, function)

        def call(*arguments, original=original, function=function):
            calls.append((function, os.path.getsize(arguments[0])))
            return original(*arguments)

        monkeypatch.setattr(os, function, call)
    with open_atomically(tmp_path / "a") as stream:
        stream.write("text")
    with atomic_path(tmp_path / "a") as partial:
        partial.write_text("longer")
    assert calls == [("fsync", 4), ("replace", 4), ("fsync", 6), ("replace", 6)]


@BOTH
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, writing):
    path = tmp_path / "a"
    path.write_text("before")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"), writing(path) as partial:
        partial.write_text("after")
    assert path.read_text() == "before" and names(tmp_path) == ["a"]


@BOTH
def test_two_writers_do_not_meet(tmp_path, writing):
    path = tmp_path / "a.txt"
    with writing(path) as first:
        with writing(path) as second:
            first.write_text("first")
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first" and names(tmp_path) == ["a.txt"]


def _write_for_ever(writing, path, written):
    with writing(path) as partial:
        partial.write_text("half")
        written.put(partial.name)
        time.sleep(600)


@BOTH
def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path, writing):
    path, written = tmp_path / "a.b.mp4", FORK.Queue()
    strangers = [".a.b.mp4.partial", ".a.b.0123.partial.mp4", ".ab.0123456789abcdef.partial.mp4"]
    for name in strangers:
        (tmp_path / name).write_text("not a leftover of this file")
    process = FORK.Process(target=_write_for_ever, args=(writing, path, written))
    process.start()
    try:
        leftover = written.get(timeout=120)
        with writing(path):
            pass
        assert (tmp_path / leftover).read_text() == "half"  # that writer is alive
    finally:
        process.kill()
        process.join()
    with writing(tmp_path / "other"):
        pass
    assert (tmp_path / leftover).exists()
    with writing(path):
        assert not (tmp_path / leftover).exists()
    assert names(tmp_path) == sorted([*strangers, "a.b.mp4", "other"])


def _write_often(path, content, start):
    start.wait(timeout=120)
    for _ in range(100):
        with open_atomically(path, "wb") as stream:
            stream.write(content)


def test_many_processes_write_one_file(tmp_path):
    path, start = tmp_path / "a", FORK.Event()
    contents = [bytes([number]) * 50_000 for number in range(4)]
    processes = [FORK.Process(target=_write_often, args=(path, c, start)) for c in contents]
    for process in processes:
        process.start()
    start.set()
    num_read = 0
    while any(process.is_alive() for process in processes):
        if path.exists():
            assert path.read_bytes() in contents
            num_read += 1
    assert num_read > 0
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert names(tmp_path) == ["a"]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    leftover = tmp_path / ".a.0123456789abcdef.partial"
    leftover.write_text("perhaps in use")
    with open_atomically(tmp_path / "a") as stream:
        stream.write("text")
    assert (tmp_path / "a").read_text() == "text" and leftover.exists()


def test_a_partial_file_without_a_block(tmp_path):
    files = [PartialFile(tmp_path / "a.mp4") for _ in range(2)]
    files[0].path.write_text("kept")
    files[0].complete()
    for file in files:
        file.discard()
        file.discard()
    assert (tmp_path / "a.mp4").read_text() == "kept" and names(tmp_path) == ["a.mp4"]


def test_descriptors_are_closed(tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(3):
        with open_atomically(tmp_path / "a"), atomic_path(tmp_path / "b"):
            pass
        with pytest.raises(KeyError), atomic_folder(tmp_path / "c"):
            raise KeyError
    assert count() == before


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "frames"
    with pytest.raises(RuntimeError), atomic_folder(path) as partial:
        (partial / "1.jpg").write_text("half")
        raise RuntimeError
    assert names(tmp_path) == []
    leftover = tmp_path / ".frames.0123456789abcdef.partial"
    (leftover / "deep").mkdir(parents=True)
    path.mkdir()  # an empty one may be there
    with atomic_folder(path) as partial:
        assert not leftover.exists()
        (partial / "1.jpg").write_text("frame")
        assert names(path) == []
    assert names(tmp_path) == ["frames"] and names(path) == ["1.jpg"]
    with pytest.raises(FileExistsError, match="frames"), atomic_folder(path):
        pass
    assert names(tmp_path) == ["frames"] and names(path) == ["1.jpg"]
