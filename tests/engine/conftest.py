"""What tests of training, and of detection in videos, share."""

import dataclasses

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from numbered_videos import write_video

from tubedet.data.datasets.ava import register_ava
from tubedet.data.datasets.builtin import ava_files
from tubedet.engine import load_config


@pytest.fixture
def cfg():
    """The toy model, every query of which is a result."""
    return load_config(
        "configs/quick_schedules/TubeR_toy.yaml",
        ["MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0"],
    )


@pytest.fixture
def film(tmp_path):
    """4.1 seconds at 30 frames a second, the number of each in the picture."""
    return write_video(tmp_path / "film.mp4", 123, b_frames=2, gop=12)


@pytest.fixture
def two_key_frames(toy_datasets, tmp_path):
    """A registered data set of the first two annotated key frames of the toy set."""
    files = ava_files(str(toy_datasets / "ava_toy"), split="train", version="v2.1")
    with open(files.groundtruth_csv) as f:
        rows = f.readlines()
    keys = list(dict.fromkeys(tuple(row.split(",")[:2]) for row in rows))[:2]
    subset = tmp_path / "two.csv"
    subset.write_text("".join(row for row in rows if tuple(row.split(",")[:2]) in keys))
    name = "toy_two_key_frames"
    register_ava(
        name, dataclasses.replace(files, groundtruth_csv=str(subset), included_timestamps=None)
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
