"""The commands of the README that name released weights, with small files from a local server."""

import dataclasses
import json
from pathlib import Path

import pytest
from documented_commands import ROOT, fenced_commands
from picture_videos import picture_with_blocks, write_picture_video
from release_server import CONFIG

from tubedet.cli.running import parse_command_line, run_command
from tubedet.model_zoo import find_release, local_weights, released_models
from tubedet.model_zoo.releases import WEIGHT_KEYS

COMMANDS = [
    command.words
    for command in fenced_commands(ROOT / "README.md")
    if {release.name for release in released_models()} & set(command.words)
]


@pytest.fixture
def serve(release_server, add_release, released_checkpoint):
    """Puts a small file behind the name of a release, and a small config."""

    def put(name):
        release = find_release(name)
        path = f"/files/{name}.pth"
        release_server.files[path] = released_checkpoint
        config = CONFIG if release.config else None
        add_release(dataclasses.replace(release, url=release_server.url + path, config=config))

    return put


def test_the_demo_of_the_readme_runs_as_it_stands(serve, release_server):
    (words,) = [words for words in COMMANDS if words[1] == "demo"]
    serve(words[words.index("--model") + 1])
    write_picture_video(Path("in.mp4"), picture_with_blocks(), num_frames=12)
    assert run_command("demo", words[2:]) == 0
    assert Path("out.mp4").stat().st_size > 500
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert len(rows) > 0
    assert release_server.downloads == ["/files/TubeR_CSN152_AVA21.pth"]


def test_the_weights_of_its_trainings_are_fetched_by_name(serve, release_server, monkeypatch):
    trainings = [words for words in COMMANDS if words[1] == "train"]
    assert len(trainings) == 2
    found = {}
    for words in trainings:
        with monkeypatch.context() as context:
            context.chdir(ROOT)
            options = parse_command_line("train", words[2:])
        keys = dict(zip(options.opts[::2], options.opts[1::2]))
        found |= {key: name for key, name in keys.items() if key in WEIGHT_KEYS}
    assert found == {
        "MODEL.INIT.BACKBONE": "irCSN_50_ft_kinetics_from_ig65m_f233743920",
        "MODEL.INIT.TRANSFORMER": "detr-r50-e632da11",
        "MODEL.WEIGHTS": "TubeR_CSN50_AVA21",
    }
    for key, name in found.items():
        serve(name)
        assert Path(local_weights(name, key)).stat().st_size > 1000
    assert len(release_server.downloads) == 3
    assert not any(find_release(name).by_hand for name in found.values())
