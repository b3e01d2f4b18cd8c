import os
import subprocess
import sys
import tempfile
import time

import pytest

from tubedet.web import visitor_files
from tubedet.web.visitor_files import VisitorFiles, remove_leftovers


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_files_are_deleted_by_age_whatever_lies_beside_them(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    with VisitorFiles(keep_seconds=0.5) as files:
        served = files.served
        (served / "a").mkdir()
        (served / "a/film.mp4").write_bytes(bytes(1000))
        (served / ".film.partial").write_bytes(bytes(24))
        (served / "folder.mp4").mkdir()  # which stops a plain os.remove for ever
        (served / "link.mp4").symlink_to(precious)
        (served / "all").symlink_to(tmp_path)
        (files.work / "result.mp4").write_bytes(b"1")
        os.mkfifo(served / "pipe")
        assert files.num_bytes() >= 1024
        wait_until(lambda: list(served.iterdir()) == [])
        assert (files.work / "result.mp4").exists()
        (served / "young.mp4").write_bytes(b"1")
        files.sweep()
        assert (served / "young.mp4").exists()
    assert precious.read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_file_that_cannot_be_deleted_stops_nothing(monkeypatch, caplog):
    unlink = os.unlink
    monkeypatch.setattr(
        os, "unlink", lambda p: unlink(p) if "bad" not in p else (_ for _ in ()).throw(OSError("x"))
    )
    with VisitorFiles(keep_seconds=1000) as files:
        for name in ("a.mp4", "bad.mp4", "c.mp4"):
            (files.served / name).touch()
        files._keep_seconds = -1
        files.sweep()
        assert [path.name for path in files.served.iterdir()] == ["bad.mp4"]
        assert "bad.mp4 cannot be deleted: x" in caplog.text
        monkeypatch.undo()


PAGE = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from tubedet.web.visitor_files import VisitorFiles
files = VisitorFiles(keep_seconds=1000)
(files.served / "film.mp4").touch()
print(files.served.parent, flush=True)
time.sleep(100)
"""


def test_what_a_killed_page_left_is_removed_by_the_next(tmp_path):
    page = subprocess.Popen([sys.executable, "-c", PAGE, tmp_path], stdout=subprocess.PIPE)
    folder = page.stdout.readline().decode().strip()
    remove_leftovers()
    assert os.path.exists(f"{folder}/served/film.mp4")  # the page lives
    page.kill()
    page.wait()
    (tmp_path / "tubedet-web-file").touch()
    (tmp_path / "tubedet-web-link").symlink_to(tmp_path)
    (tmp_path / "tubedet-web-young").mkdir()
    with VisitorFiles(keep_seconds=1000) as own, VisitorFiles(keep_seconds=1000):
        assert not os.path.exists(folder)
        assert own.served.exists()
        names = {path.name for path in tmp_path.iterdir()}
        assert {"tubedet-web-file", "tubedet-web-link", "tubedet-web-young"} < names
    page.stdout.close()


def test_a_folder_without_a_lock_is_left_once_it_is_old(tmp_path, monkeypatch):
    (tmp_path / "tubedet-web-old").mkdir()
    remove_leftovers()
    assert (tmp_path / "tubedet-web-old").exists()
    monkeypatch.setattr(visitor_files, "_STARTING_SECONDS", -1)
    remove_leftovers()
    assert not (tmp_path / "tubedet-web-old").exists()


def test_a_page_that_is_killed_while_it_ends_leaves_no_file_of_a_visitor(tmp_path, monkeypatch):
    """Without its lock file its folder would look like that of a page that has just begun."""
    left = []
    cleanup = tempfile.TemporaryDirectory.cleanup
    monkeypatch.setattr(
        tempfile.TemporaryDirectory,
        "cleanup",
        lambda folder: (left.extend(os.listdir(folder.name)), cleanup(folder)),
    )
    with VisitorFiles(keep_seconds=1000) as files:
        (files.served / "film.mp4").touch()
    assert left == [".lock"] and list(tmp_path.iterdir()) == []


def test_many_small_files_take_room():
    with VisitorFiles(keep_seconds=60) as files:
        for number in range(100):
            (files.served / f"{number}.mp4").touch()
        assert files.num_bytes() == 100 * 16 * 1024
