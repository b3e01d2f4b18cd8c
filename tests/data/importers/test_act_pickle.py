import pickle

import numpy as np
import pytest

from tubedet.cli.running import run_command
from tubedet.data import AnnotationError
from tubedet.data.annotations.tube_files import read_act_groundtruth
from tubedet.data.datasets.custom import load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.act_pickle import read_act_pickle
from tubedet.data.importers.labels import ImportOptions


def tube(*frames, left=10):
    return np.array([[f, left, 20, 30 + f, 40] for f in frames], np.float32)


def act():
    """As of MultiSports: actions of its own, videos in folders, several persons."""
    return {
        "labels": ["serve", "block", "spike"],
        "train_videos": [["volleyball/v_a"], ["volleyball/v_b"]],
        "test_videos": [["volleyball/v_b"], ["volleyball/v_a"]],
        "nframes": {"volleyball/v_a": 5, "volleyball/v_b": 3},
        "resolution": {"volleyball/v_a": (720, 1280), "volleyball/v_b": (32, 1280)},
        "gttubes": {
            "volleyball/v_a": {0: [tube(2, 3), tube(3, 4, left=12)], 2: [tube(3, 4)]},
            "volleyball/v_b": {1: [tube(1)]},
        },
    }


def corrected():
    boxes = np.array([[250, 2, 30, 4]] * 2, np.uint8)
    return {
        f"{name}/v_{name}_g01_c01": {
            "numf": 4,
            "label": label,
            "annotations": [{"label": label, "sf": 1, "ef": 3, "boxes": boxes}],
        }
        for label, name in enumerate(("Basketball", "Diving"))
    }


def read(folder, content, **options):
    path = folder / "GT.pkl"
    path.write_bytes(pickle.dumps(content))
    return read_act_pickle(path, ImportOptions(videos=folder, **options))


def test_all_videos(tmp_path):
    labels = read(tmp_path, act())
    assert labels.class_names == ["serve", "block", "spike"]
    a, b = "volleyball/v_a", "volleyball/v_b"
    assert sorted((*box.moment, box.box, box.actions, box.person_id) for box in labels.boxes) == [
        (a, 2, (10, 20, 32, 40), ("serve",), 0),
        (a, 3, (10, 20, 33, 40), ("serve",), 0),
        (a, 3, (10, 20, 33, 40), ("spike",), 0),  # the same boxes: the same person
        (a, 3, (12, 20, 33, 40), ("serve",), 1),
        (a, 4, (10, 20, 34, 40), ("spike",), 0),
        (a, 4, (12, 20, 34, 40), ("serve",), 1),
        (b, 1, (10, 20, 31, 40), ("block",), 0),
    ]
    assert labels.empty == {(a, 1), (a, 5), (b, 2), (b, 3)}
    assert labels.sizes == {a: (1280, 720), b: (1280, 32)}
    assert labels.remarks == {"tubes with the boxes of another one: the same person": 1}


def test_subset_and_split(tmp_path):
    def videos(**options):
        return {box.video_id for box in read(tmp_path, act(), **options).boxes}

    assert videos(subset="train", split=1) == {"volleyball/v_a"} == videos(subset="test", split=2)
    assert videos(subset="test", split=1) == {"volleyball/v_b"}
    assert videos(split=2) == {"volleyball/v_a", "volleyball/v_b"}
    with pytest.raises(
        AnnotationError, match=r"GT\.pkl: the videos are split in 2 ways: .*--split N"
    ):
        videos(subset="test")
    with pytest.raises(AnnotationError, match=r"GT\.pkl has 2 splits, there is no split 3"):
        videos(split=3)


def test_written_and_loaded(tmp_path, capsys):
    (tmp_path / "GT.pkl").write_bytes(pickle.dumps(act()))
    arguments = [str(tmp_path / "GT.pkl"), "--videos", str(tmp_path), "--fps", "25", "--split", "1"]
    arguments += ["--subset", "test", "--output", str(tmp_path / "my.yaml")]
    assert run_command("import", arguments) == 0
    printed = capsys.readouterr().out
    assert "format act-pickle, recognised by the ending .pkl" in printed
    assert "boxes that reach beyond the frame are cut (1)" in printed
    assert (tmp_path / "my.csv").read_text() == (
        "volleyball/v_b,1,10,20,31,32,2,0\nvolleyball/v_b,2\nvolleyball/v_b,3\n"
    )
    loaded = load_tubes(read_custom_yaml(tmp_path / "my.yaml"))["volleyball/v_b"]
    stated = read_act_groundtruth(
        tmp_path / "GT.pkl", action_names=act()["labels"], split=1, subset="test"
    )["volleyball/v_b"]
    assert loaded.key_frames == [1, 2, 3] and stated.num_frames == loaded.num_frames == 3
    assert [t.label for t in loaded.tubes] == [t.label for t in stated.tubes] == [1]


def test_corrected_ucf101(tmp_path):
    labels = read(tmp_path, corrected())
    assert labels.class_names == ["Basketball", "Diving"]
    assert [(*box.moment, box.box, box.actions) for box in labels.boxes][:2] == [
        ("Basketball/v_Basketball_g01_c01", 2, (250, 2, 280, 6), ("Basketball",)),
        ("Basketball/v_Basketball_g01_c01", 3, (250, 2, 280, 6), ("Basketball",)),
    ]
    assert len(labels.boxes) == 4 and len(labels.empty) == 4
    with pytest.raises(
        AnnotationError, match=r"GT\.pkl: this file has no subsets: leave out --sub"
    ):
        read(tmp_path, corrected(), subset="train")
    content = corrected()
    content["Diving/v_Diving_g01_c01"]["annotations"][0]["label"] = 0
    with pytest.raises(AnnotationError, match="has the label 0, which is 'Basketball' among"):
        read(tmp_path, content)


def test_boxes_without_area_are_not_nobody(tmp_path):
    content = act()
    content["gttubes"]["volleyball/v_b"] = {1: [np.array([[1, 5, 5, 5, 9], [2, 1, 1, 5, 9]])]}
    labels = read(tmp_path, content, subset="test", split=1)
    assert [box.time for box in labels.boxes] == [2] and labels.empty == {("volleyball/v_b", 3)}
    assert labels.remarks == {"boxes without an area: left out, with their frames": 1}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", ["serve", "serve", "spike"], "'labels' need different names"),
        ("labels", ["serve"], r"\['volleyball/v_a'\] has the label 2, there are 1"),
        ("nframes", {"volleyball/v_a": 10**9}, "'volleyball/v_a' has 1000000000 frames, at most"),
        ("nframes", {"volleyball/v_a": 3}, "has frames that do not ascend from 1 to at most 3"),
        ("train_videos", [["a\nb"]], r"\['nframes'\] has no key 'a\\nb'"),
        ("test_videos", 3, r"\['test_videos'\] is a int, expected list"),
    ],
)
def test_errors_name_the_key(tmp_path, key, value, message):
    with pytest.raises(AnnotationError, match=rf"GT\.pkl.*{message}"):
        read(tmp_path, {**act(), key: value})
