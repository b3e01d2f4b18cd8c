"""What tests of training share."""

import dataclasses

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data.datasets.ava import register_ava
from tubedet.data.datasets.builtin import ava_files


@pytest.fixture
def two_key_frames(toy_datasets, tmp_path):
    """A registered data set of the first two annotated key frames of the toy set."""
    yield from _first_key_frames(2, toy_datasets, tmp_path)


@pytest.fixture
def some_key_frames(toy_datasets, tmp_path):
    """A registered data set of the first seven annotated key frames of the toy set."""
    yield from _first_key_frames(7, toy_datasets, tmp_path)


def _first_key_frames(number, toy_datasets, tmp_path):
    files = ava_files(str(toy_datasets / "ava_toy"), split="train", version="v2.1")
    with open(files.groundtruth_csv) as f:
        rows = f.readlines()
    keys = list(dict.fromkeys(tuple(row.split(",")[:2]) for row in rows))[:number]
    subset = tmp_path / f"first_{number}.csv"
    subset.write_text("".join(row for row in rows if tuple(row.split(",")[:2]) in keys))
    name = f"toy_first_{number}_key_frames"
    register_ava(
        name, dataclasses.replace(files, groundtruth_csv=str(subset), included_timestamps=None)
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
