"""What docs/own_data.md shows works as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tubedet.data.datasets.custom_yaml import _READERS
from tubedet.inference.writers import VideoWriter

_ROOT = Path(__file__).resolve().parents[2]


PAGE = (_ROOT / "docs/own_data.md").read_text(encoding="utf-8")
NAMES = ["train.csv", "train.yaml", "tiny.yaml", "finetune.yaml"]


@pytest.fixture
def folder(tmp_path):
    """The folder which the example describes, beside the project's tools and configs."""
    for name in ("tools", "configs"):
        (tmp_path / name).symlink_to(_ROOT / name)
    with VideoWriter(tmp_path / "my_data/videos/gym.mp4", 10) as writer:
        for index in range(50):
            writer.write(np.full((48, 64, 3), 4 * index, np.uint8))
    blocks = re.findall(r"`(my_data/\S+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in blocks] == [f"my_data/{name}" for name in NAMES]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_commands_check_draw_train_and_evaluate(folder):
    section = re.search(r"^## Try it\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)[1]
    commands = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1].splitlines()
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "CUDA_VISIBLE_DEVICES": ""}
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "python"
        subprocess.run(
            [sys.executable, "-W", "ignore", *arguments], cwd=folder, env=environment, check=True
        )
    drawings = sorted(p.name for p in (folder / "my_data/drawings/train").iterdir())
    assert drawings == [f"gym_{second:04d}.png" for second in (1, 2, 3, 4)]
    output = folder / "my_data/output"
    assert (output / "model_final.pth").exists()
    written = sorted(p.name for p in (output / "inference").iterdir())
    assert written == ["train_predictions.csv", "train_results.json"]


def test_every_key_of_the_yaml_is_described():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(_READERS)
