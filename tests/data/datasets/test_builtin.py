import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

import tubedet
from tubedet.data.datasets.builtin import UCF101_24_ACTIONS, ava_files, load_ucf101_24

NAMES = [
    f"ava_{v}_{split}" for v in ("v2.1", "v2.2", "toy", "toy_long") for split in ("train", "val")
]
LABEL_MAPS = Path(tubedet.__file__).parent / "data/datasets/label_maps"


@pytest.mark.parametrize("name", NAMES)
def test_all_names_are_registered_with_their_metadata(name):
    assert name in DatasetCatalog.list()
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == "ava"
    assert len(metadata.action_names) == 80 and len(metadata.evaluated_ids) == 60
    root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
    split = name.rsplit("_", 1)[1]
    version = "v2.2" if "v2.2" in name else "v2.1"
    folder = name.rsplit("_", 1)[0] if "toy" in name else "ava"
    annotations = Path(root, folder, "annotations")
    assert Path(metadata.groundtruth_csv) == annotations / f"ava_{split}_{version}.csv"
    assert Path(metadata.exclusions_csv) == (
        annotations / f"ava_{split}_excluded_timestamps_{version}.csv"
    )


@pytest.mark.parametrize("subset", ["train", "test"])
@pytest.mark.parametrize(
    ("name", "num_actions"),
    [*((f"jhmdb_split{split}", 21) for split in (1, 2, 3)), ("ucf101_24", 24)],
)
def test_tube_sets_are_registered_with_their_metadata(name, num_actions, subset):
    metadata = MetadataCatalog.get(f"{name}_{subset}")
    assert metadata.evaluator_type == "action_tubes" and metadata.exclusive_actions
    names = metadata.action_names
    assert len(names) == num_actions and names == sorted(names)


def test_ucf101_24_prefers_the_corrected_annotation(tmp_path):
    box = np.array([[1, 1, 2, 2, 3]], np.float32)
    act = {
        "labels": list(UCF101_24_ACTIONS),
        "gttubes": {"Biking/act": {2: [box]}},
        "nframes": {"Biking/act": 1},
        "resolution": {"Biking/act": (240, 320)},
        "train_videos": [["Biking/act"]],
        "test_videos": [[]],
    }
    (tmp_path / "UCF101v2-GT.pkl").write_bytes(pickle.dumps(act))
    assert list(load_ucf101_24(str(tmp_path), subset="train")) == ["Biking/act"]
    corrected = {f"Biking/{i}": {"numf": 1, "label": 2, "annotations": []} for i in "ab"}
    (tmp_path / "pyannot.pkl").write_bytes(pickle.dumps(corrected))
    assert list(load_ucf101_24(str(tmp_path), subset="train")) == ["Biking/act"]
    (tmp_path / "testlist01.txt").write_text("Biking/b\n")
    assert list(load_ucf101_24(str(tmp_path), subset="train")) == ["Biking/a"]
    assert list(load_ucf101_24(str(tmp_path), subset="test")) == ["Biking/b"]


def test_label_maps_of_the_data_set_go_before_those_of_the_package(tmp_path):
    files = ava_files(str(tmp_path), split="val", version="v2.1")
    assert Path(files.label_map).parent == Path(files.action_list).parent == LABEL_MAPS
    own = tmp_path / "annotations/ava_action_list_v2.1_for_activitynet_2018.pbtxt"
    own.parent.mkdir()
    own.write_text('item {\n  name: "sit"\n  id: 11\n}\n')
    files = ava_files(str(tmp_path), split="val", version="v2.1")
    assert Path(files.label_map) == own
    assert Path(files.action_list).parent == LABEL_MAPS


def test_missing_data_say_where_they_belong_and_how_to_get_them(tmp_path):
    code = (
        "import tubedet.data\n"
        "from detectron2.data import DatasetCatalog\n"
        "for name in ('ava_v2.2_val', 'ava_toy_train', 'ava_toy_long_val', 'jhmdb_split2_test',\n"
        "    'ucf101_24_test'):\n"
        "    try:\n"
        "        DatasetCatalog.get(name)\n"
        "    except FileNotFoundError as error:\n"
        "        print(error)\n"
    )
    root = tmp_path / "data with a space"
    environment = {**os.environ, "DETECTRON2_DATASETS": str(root)}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(tubedet.__file__).parents[2],
        check=True,
    )
    real, toy, long_toy, jhmdb, ucf = result.stdout.splitlines()
    assert str(root / "ava/annotations/ava_val_v2.2.csv") in real
    assert "$DETECTRON2_DATASETS" in real and "ava_v2.2.zip" in real
    assert f'make_toy_ava.py --output "{root}/ava_toy"' in toy
    assert f'make_toy_ava.py --long-term --output "{root}/ava_toy_long"' in long_toy
    assert f"{root}/jhmdb/JHMDB-GT.pkl" in jhmdb and "docs/datasets.md" in jhmdb
    assert f"{root}/ucf101_24/pyannot.pkl" in ucf and "UCF101v2-GT.pkl" in ucf


def test_standard_layout_is_read(tmp_path):
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    texts = {
        "ava_val_v2.1.csv": "a,0902,0.1,0.2,0.5,0.9,12,0\n",
        "ava_val_excluded_timestamps_v2.1.csv": "a,0904\n",
        "ava_included_timestamps_v2.1.txt": "0902\n0903\n0904\n",
        "ava_file_names_val_v2.1.txt": "a.mp4\n",
        "video_info.csv": "video_id,height,width,fps,start_second,num_frames\na,96,128,15,900,90\n",
    }
    for name, text in texts.items():
        (annotations / name).write_text(text)
    dataset_dicts = tubedet.data.load_ava(ava_files(str(tmp_path), split="val", version="v2.1"))
    assert [(r["timestamp"], len(r["annotations"])) for r in dataset_dicts] == [(902, 1), (903, 0)]
    assert {(r["height"], r["width"], r["fps"]) for r in dataset_dicts} == {(96, 128, 15.0)}
    assert dataset_dicts[0]["video"] == str(tmp_path / "videos/a.mp4")
