"""The zoo with one entry more, whose file is on this machine."""

import pytest
from release_server import ReleaseServer, toy_checkpoint, toy_release

from tubedet.model_zoo import releases


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The empty cache of this test; the current folder is empty, too."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def add_release(monkeypatch):
    """Puts an entry into the zoo for this test."""

    def add(release):
        monkeypatch.setitem(releases._RELEASES, release.name, release)
        return release

    return add


@pytest.fixture(scope="session")
def checkpoint():
    """A small detector as it could be released."""
    return toy_checkpoint()


@pytest.fixture
def server(cache):
    """A server that has no file yet."""
    with ReleaseServer().running() as server:
        yield server


@pytest.fixture
def release(server, add_release, checkpoint):
    """A released detector with its file."""
    server.files["/files/toy.pth"] = checkpoint
    return add_release(toy_release(server.url))
