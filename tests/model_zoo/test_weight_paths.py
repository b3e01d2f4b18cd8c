"""A path or URL of weights leads to that file and to no other."""

import functools
import io

import pytest
import torch
from release_server import ReleaseServer
from safetensors.torch import save
from torch import nn

from tubedet.checkpoint import CheckpointError, TubedetCheckpointer
from tubedet.cli.running import run_command
from tubedet.errors import UserError
from tubedet.model_zoo import fetch_url, local_weights

convert = functools.partial(run_command, "convert")


def _content(number):
    model = nn.Linear(2, 2)
    nn.init.constant_(model.bias, number)
    stream = io.BytesIO()
    torch.save({"model": model.state_dict()}, stream)
    return stream.getvalue()


def _loaded(source):
    model = nn.Linear(2, 2)
    TubedetCheckpointer(model).load(str(source))
    return model.bias[0].item()


NAMES = ("good.pth", "good.pth?x=1", "good.pth#part", "good%20.pth", "good .pth", "file:good.pth")


def test_a_file_is_loaded_by_its_name_whatever_that_holds(release_cache):
    for number, name in enumerate(NAMES):
        with open(name, "wb") as stream:
            stream.write(_content(number))
    assert [_loaded(name) for name in NAMES] == list(range(len(NAMES)))
    for name in ("good.pth?x=2", "good.pth/", "good.pth#"):
        with pytest.raises(FileNotFoundError, match="does not exist .MODEL.WEIGHTS."):
            _loaded(name)


def test_home_and_file_urls_lead_to_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my good.pth").write_bytes(_content(7))
    assert _loaded("~/my good.pth") == 7
    assert _loaded(f"file://{tmp_path}/my%20good.pth") == 7
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "my good.pth").write_bytes(_content(8))
    assert _loaded("~/my good.pth") == 8
    with pytest.raises(FileNotFoundError, match="none.pth does not exist"):
        _loaded(f"file://{tmp_path}/none.pth")
    with pytest.raises(UserError, match=r"is a folder \(MODEL.WEIGHTS\)"):
        _loaded(f"file://{tmp_path}")
    assert local_weights("", "MODEL.WEIGHTS") == ""


def test_urls_of_one_path_have_files_of_their_own(release_server, release_cache):
    paths = ("/a/w.pth", "/a/w.pth?version=2", "/w.pth?path=a/w.pth", "/w.pth?path=b/w.pth")
    for number, path in enumerate(paths):
        release_server.files[path] = _content(number)
    with ReleaseServer().running() as other:
        other.files["/a/w.pth"] = _content(9)
        sources = [*(release_server.url + path for path in paths), f"{other.url}/a/w.pth"]
        for _ in range(2):
            assert [_loaded(source) for source in sources] == [0, 1, 2, 3, 9]
        assert other.downloads == ["/a/w.pth"]
    assert release_server.downloads == list(paths)  # once each


def test_the_ending_of_a_url_is_that_before_its_query(release_server):
    model = nn.Linear(2, 2)
    release_server.files["/w.safetensors?download=true"] = save(model.state_dict())
    assert _loaded(f"{release_server.url}/w.safetensors?download=true") == model.bias[0].item()


def test_a_released_file_by_its_url_is_fetched_once(release, release_server):
    path = fetch_url(release.url)
    assert fetch_url(release.url) == path and release_server.downloads == ["/files/toy.pth"]


@pytest.mark.parametrize("url", ["s3://bucket/w.pth", "nothing://w.pth"])
def test_other_schemes_are_named(url, capsys, tmp_path):
    message = rf"{url} cannot be fetched .MODEL.WEIGHTS.: URLs of \w+:// are not fetched here"
    with pytest.raises(CheckpointError, match=message):
        _loaded(url)
    assert convert([url, str(tmp_path / "out.pth")]) == 2
    assert "are not fetched here" in capsys.readouterr().err


def test_a_url_that_is_none_is_one_line():
    with pytest.raises(CheckpointError, match="cannot be fetched") as caught:
        _loaded("http://127.0.0.1:port/w.pth")
    assert "\n" not in str(caught.value)
