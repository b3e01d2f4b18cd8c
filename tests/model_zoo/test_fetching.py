"""Released files are fetched once, whole, and from nowhere but their URL."""

import os

import numpy as np
import pytest
import torch
from release_server import toy_model, toy_release, unused_url

from tubedet import VideoActionDetector, load_model
from tubedet.checkpoint import TubedetCheckpointer
from tubedet.data.video.sources import open_frame_source
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.model_zoo import fetch_release, local_weights

NAME = "TubeR_toy_released"
CPU = ["MODEL.DEVICE", "cpu"]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def _files(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def _equal(one, other):
    weights = other.state_dict()
    return all(torch.equal(value, weights[key]) for key, value in one.state_dict().items())


def test_a_model_by_name_is_fetched_once(release, release_server, release_cache, capfd):
    model = load_model(NAME)
    assert not model.training and _equal(model, toy_model())
    assert release_server.downloads == ["/files/toy.pth"]
    assert _files(release_cache) == ["toy.pth"]
    said = capfd.readouterr().err
    assert said.count("licence CC0-1.0, see https://example.com/toy") == 1
    assert "toy.pth: 0.00B" in said and "MB/s]" in said  # the progress bar

    asked = list(release_server.requests)
    config = load_config(release.config, [*CPU, "MODEL.WEIGHTS", NAME])
    assert _equal(load_model(config), model)
    assert _equal(load_model(NAME), model)
    assert release_server.requests == asked and "licence" not in capfd.readouterr().err


def test_the_report_has_the_name(release, tmp_path):
    checkpointer = TubedetCheckpointer(toy_model(), str(tmp_path / "out"))
    checkpointer.resume_or_load(NAME, resume=False)
    assert checkpointer.report.source == NAME and checkpointer.report.share == 1
    parts = TubedetCheckpointer(toy_model(), backbone=NAME, transformer=NAME)
    parts.resume_or_load("", resume=False)
    assert [(report.source, report.part) for report in parts.reports] == [
        (NAME, "backbone"),
        (NAME, "transformer"),
    ]


def test_a_video_detector_by_name(release, release_server):
    images = [np.full((48, 64, 3), 90, np.uint8)] * 4
    results = []
    for detector in (
        VideoActionDetector(NAME, batch_size=2),
        VideoActionDetector(NAME, model=toy_model(), device="cpu"),
        VideoActionDetector(load_config(release.config, CPU), model=toy_model()),
    ):
        film = open_frame_source(images, fps=4)
        results.append([result.instances.scores for result in detector(film, every=1)])
    assert all(len(result) == 1 and len(result[0]) == 6 for result in results)
    for other in results[1:]:
        torch.testing.assert_close(results[0], other)
    assert release_server.downloads == ["/files/toy.pth"]


def test_a_file_of_the_user_goes_before(release, release_server):
    model = toy_model()
    for parameter in model.parameters():
        parameter.data.add_(1)
    torch.save({"model": model.state_dict()}, NAME)
    assert _equal(load_model(NAME), model)
    assert release_server.requests == []


def test_a_folder_of_the_user_goes_before(release, release_server):
    os.mkdir(NAME)
    with pytest.raises(UserError, match=f"checkpoint {NAME} is a folder"):
        load_model(NAME)
    assert release_server.requests == []


def test_a_file_that_was_put_into_the_cache_is_taken(
    release, release_server, release_cache, released_checkpoint
):
    (release_cache / "files").mkdir(parents=True)
    (release_cache / "files/toy.pth").write_bytes(released_checkpoint)
    assert _equal(load_model(NAME), toy_model())
    assert release_server.requests == []


def _message(name=NAME):
    with pytest.raises(UserError) as raised:
        load_model(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_answer_that_is_too_short_is_removed(
    release, release_server, release_cache, released_checkpoint, capfd
):
    release_server.cut_off = 100
    message = _message()
    assert (
        f"got only {len(released_checkpoint) - 100} out of {len(released_checkpoint)} bytes"
        in message
    )
    assert release.url in message and str(release_cache / "files/toy.pth") in message
    assert _files(release_cache) == [] and "licence" not in capfd.readouterr().err
    release_server.cut_off = 0
    assert _equal(load_model(NAME), toy_model())


def test_a_file_of_another_size_is_removed(
    release_server, release_cache, add_release, released_checkpoint
):
    release_server.files["/files/toy.pth"] = released_checkpoint[:-7]
    size = len(released_checkpoint)
    release = add_release(toy_release(release_server.url, num_bytes=size))
    assert f"{size - 7:,} bytes came instead of {size:,}" in _message()
    assert _files(release_cache) == []
    # What the user put there is left to the user.
    (release_cache / "files/toy.pth").write_bytes(b"half")
    assert f"has 4 bytes, the released file {size:,}; remove it" in _message()
    (release_cache / "files/toy.pth").unlink()
    release_server.files["/files/toy.pth"] = released_checkpoint
    assert fetch_release(release) == str(release_cache / "files/toy.pth")


def test_a_file_that_is_not_there(release, release_server, release_cache):
    release_server.files.clear()
    message = _message()
    assert message.startswith(f"{NAME} cannot be fetched: HTTP Error 404: Not Found; download ")
    assert release_server.downloads == [] and _files(release_cache) == []


@pytest.mark.parametrize("key", ["MODEL.WEIGHTS", "MODEL.INIT.BACKBONE"])
def test_without_a_network_there_is_one_line(key, release_cache, add_release, capfd):
    release = add_release(toy_release(unused_url()))
    with pytest.raises(UserError) as raised:
        load_model(load_config(release.config, [*CPU, key, NAME]))
    assert str(raised.value) == (
        f"{NAME} cannot be fetched: [Errno 111] Connection refused; download {release.url} by hand "
        f"to {release_cache}/files/toy.pth, or set {key} to the path of the file"
    )
    assert capfd.readouterr() == ("", "")


def test_a_path_that_does_not_exist_brings_the_name_to_mind(release_cache):
    with pytest.raises(FileNotFoundError) as raised:
        local_weights("weights/TubeR_CSN152_AVA21.pth", "MODEL.WEIGHTS")
    assert str(raised.value) == (
        "checkpoint weights/TubeR_CSN152_AVA21.pth does not exist (MODEL.WEIGHTS); the released "
        "TubeR_CSN152_AVA21 is fetched by that name, without an ending"
    )
    with pytest.raises(
        FileNotFoundError, match=r"checkpoint none.pth does not exist \(--resume\)$"
    ):
        local_weights("none.pth", "--resume")


def test_missing_weights_stop_before_a_model_is_built(release_cache, monkeypatch):
    monkeypatch.setattr("tubedet.engine.model_loading.build_model", lambda cfg: 1 / 0)
    cfg = load_config("quick_schedules/TubeR_toy.yaml", [*CPU, "MODEL.WEIGHTS", "none.pth"])
    with pytest.raises(FileNotFoundError, match=r"none.pth does not exist"):
        load_model(cfg)


def test_a_file_behind_a_page_is_put_in_its_place_by_hand(release_cache, release_server):
    name = "ClassQuery_ViTB_AVA22"
    path = release_cache / "by_hand" / f"{name}.pth"
    with pytest.raises(UserError) as raised:
        local_weights(name, "MODEL.WEIGHTS")
    assert str(raised.value) == (
        f"{name} is behind a page for browsers (licence CC-BY-NC-4.0, see "
        "https://github.com/naver-ai/class-query-vad): download "
        "https://drive.google.com/file/d/1CHh3raut--38qZ7lvBiqAQD3YPMGQFBX/view by hand to "
        f"{path}, or set MODEL.WEIGHTS to the path of the file"
    )
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert local_weights(name, "MODEL.WEIGHTS") == str(path)
    assert release_server.requests == []
