"""The version that a log names."""

import subprocess

import tubedet
from tubedet.engine.source_version import source_version


def _git(folder, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(folder), *names, *words], check=True, capture_output=True)


def test_commit_of_a_clone_is_named(tmp_path, monkeypatch):
    (tmp_path / "tubedet").mkdir()
    file = tmp_path / "tubedet/__init__.py"
    file.write_text("")
    monkeypatch.setattr(tubedet, "__file__", str(file))
    assert source_version() == tubedet.__version__
    _git(tmp_path, "init")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-m", "first", "--no-gpg-sign")
    command = ["git", "-C", str(tmp_path), "rev-parse", "HEAD"]
    commit = subprocess.check_output(command, text=True).strip()
    name, found = source_version().split(", commit ")
    assert name == tubedet.__version__
    assert len(found) >= 7 and commit.startswith(found)
    file.write_text("# changed")
    assert source_version() == f"{name}, commit {found} (changed)"
