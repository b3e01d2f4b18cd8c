"""What tests of training share."""

import dataclasses

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data.datasets.ava import register_ava
from tubedet.data.datasets.builtin import ava_files


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
