import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from tubedet.data import AnnotationError
from tubedet.data.annotations.tube_files import (
    ActionTube,
    read_act_groundtruth,
    read_corrected_ucf101,
)
from tubedet.data.datasets.builtin import JHMDB_ACTIONS, UCF101_24_ACTIONS

_SHARED = Path(__file__).parents[4] / "shared/data"
needs_shared = pytest.mark.skipif(not _SHARED.exists(), reason=f"no {_SHARED}")

NAMES = ("run", "wave")
ACT = {
    "labels": list(NAMES),
    "gttubes": {
        "run/a": {0: [np.array([[1, 10, 20, 30, 40], [2, 11, 21, 31, 41]], np.float32)]},
        "wave/b": {
            1: [np.array([[3, 0, 0, 9, 9]], np.float32), np.array([[1, 5, 5, 8, 8]], np.float32)]
        },
    },
    "nframes": {"run/a": 2, "wave/b": 4},
    "resolution": {"run/a": (240, 320), "wave/b": (120, 160)},
    "train_videos": [["run/a"], ["wave/b"]],
    "test_videos": [["wave/b"], ["run/a"]],
}
CORRECTED = {
    "Run/a": {
        "numf": np.uint8(6),
        "label": 0,
        "annotations": [
            {
                "label": 0,
                "sf": 1,
                "ef": 3,
                "boxes": np.array([[200, 100, 100, 90], [201, 101, 100, 90]], np.uint8),
            }
        ],
    },
    "Wave/b": {"numf": 300, "label": 1, "annotations": []},
}


def read_act(tmp_path, data, **changes):
    path = tmp_path / "GT.pkl"
    path.write_bytes(pickle.dumps(data, protocol=2))
    options = {"action_names": NAMES, "split": 1, "subset": "test", **changes}
    return read_act_groundtruth(path, **options)


def read_corrected(tmp_path, data, subset="train", test_list="Wave/b.avi\nOther/c.avi\n"):
    path = tmp_path / "annot.pkl"
    path.write_bytes(pickle.dumps(data, protocol=2))
    (tmp_path / "list.txt").write_text(test_list)
    return read_corrected_ucf101(
        path, action_names=NAMES, test_list=tmp_path / "list.txt", subset=subset
    )


def test_act_rows_keep_frame_number_and_coordinates(tmp_path):
    video = read_act(tmp_path, ACT, subset="train")["run/a"]
    assert (video.num_frames, video.size, video.key_frames) == (2, (240, 320), None)
    (tube,) = video.tubes
    assert tube.label == 0 and tube.frames.tolist() == [1, 2]
    assert tube.boxes.tolist() == [[10, 20, 30, 40], [11, 21, 31, 41]]
    assert tube.boxes.dtype == np.float32 and tube.frames.dtype == np.int64


def test_splits_and_subsets(tmp_path):
    videos = {
        (split, subset): list(read_act(tmp_path, ACT, split=split, subset=subset))
        for split in (1, 2)
        for subset in ("train", "test")
    }
    assert videos[1, "train"] == videos[2, "test"] == ["run/a"]
    assert videos[1, "test"] == videos[2, "train"] == ["wave/b"]


def test_tubes_of_a_video_are_different_persons(tmp_path):
    tubes = read_act(tmp_path, ACT)["wave/b"].tubes
    assert [(t.label, t.person_id, t.frames.tolist()) for t in tubes] == [(1, 0, [3]), (1, 1, [1])]


def _damage(data, *path, value):
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("labels",), ["wave", "run"], r"'labels' are \['wave', 'run'\], expected \['run'"),
        (("labels",), None, "has no key 'labels'"),
        (("nframes", "wave/b"), None, r"\['nframes'\] has no key 'wave/b'"),
        (("nframes", "wave/b"), "4", r"\['nframes'\]\['wave/b'\] is a str, expected int"),
        (("nframes", "wave/b"), 2, r"\['wave/b'\]\[1\]\[0\] has frames that do not .* at most 2"),
        (("resolution", "wave/b"), (240,), r"\['wave/b'\] is no \(height, width\)"),
        (("nframes", "wave/b"), 10**6 + 1, "'wave/b' has 1000001 frames, at most 1000000 are"),
        (("gttubes", "wave/b"), {2: []}, "has the label 2, there are 2"),
        (("gttubes", "wave/b"), {1: [np.zeros((2, 4))]}, r"shape \(2, 4\), expected \(n, 5\)"),
        (("gttubes", "wave/b"), {1: [np.full((1, 5), np.nan)]}, "not finite"),
        (("gttubes", "wave/b"), {1: [np.full((1, 5), 1.5)]}, "frame numbers that are not whole"),
        (("gttubes", "wave/b"), {1: [np.array([[1, 9, 0, 3, 3]])]}, "right or lower edge"),
        (("gttubes", "wave/b"), {1: [np.zeros((0, 5))]}, "frames that do not ascend"),
        (("test_videos",), [], "0 splits, there is no split 1"),
        (("test_videos",), {}, r"\['test_videos'\] is a dict, expected list"),
    ],
)
def test_damaged_act_file_names_file_video_and_key(tmp_path, path, value, message):
    with pytest.raises(AnnotationError, match=r"GT\.pkl.*" + message):
        read_act(tmp_path, _damage(ACT, *path, value=value))


def test_all_videos_together_have_no_more_frames_than_their_file_may_state(tmp_path):
    many = {**ACT, "nframes": dict.fromkeys(("run/a", "wave/b"), 510_000)}
    assert len(read_act(tmp_path, many)) == 1
    many["test_videos"] = [["run/a", "wave/b"]]
    size = len(pickle.dumps(many, protocol=2))
    most = 10**6 + 20 * size
    assert 1_010_000 < most < 1_020_000
    with pytest.raises(AnnotationError, match=f"states 1,020,000 frames, and at most {most:,} are"):
        read_act(tmp_path, many)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({**ACT, "labels": len}), r"byte \d+: refused, it asks for .builtins\.len"),
        (pickle.dumps(ACT)[:-9], r"byte \d+: damaged or no pickle"),
        (b"", "byte 0: damaged or no pickle"),
    ],
)
def test_a_pickle_of_something_else_is_an_annotation_error(tmp_path, content, message):
    path = tmp_path / "GT.pkl"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"GT\.pkl: {message}") as error:
        read_act_groundtruth(path, action_names=["run", "wave"], split=1, subset="test")
    assert str(error.value).startswith(str(path))


def _nested(depth):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", ["x" * 10**6, "wave"], "expected \\['run', 'wave'\\]"),
        ("labels", [str(i) for i in range(10**5)], "expected \\['run', 'wave'\\]"),
        ("gttubes", {"wave/b": {"x" * 10**6: []}}, "has the label 'xxx"),
        ("gttubes", {"wave/b": {2**64 - 1: []}}, "has the label 18446744073709551615, there"),
        ("nframes", {"wave/b": _nested(60)}, "is a tuple, expected int"),
        ("nframes", {"wave/b": -(10**5000)}, "at most a number of 16610 bits"),
        ("nframes", {"wave/b": 10**5000}, "has a number of 16610 bits frames, at most 1000000"),
    ],
    ids=range(7),
)
def test_huge_values_do_not_flood_the_message(tmp_path, key, value, message):
    with pytest.raises(AnnotationError, match=message) as error:
        read_act(tmp_path, {**ACT, key: value})
    assert len(str(error.value)) < len(str(tmp_path)) + 400


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("label", 10**5000, "has the label a number of 16610 bits"),
        ("ef", 10**5000, "from 1 to before a number of 16610 bits"),
    ],
    ids=["label", "end"],
)
def test_huge_numbers_of_the_corrected_file(tmp_path, key, value, message):
    data = copy.deepcopy(CORRECTED)
    data["Run/a"]["annotations"][0][key] = value
    with pytest.raises(AnnotationError, match=message):
        read_corrected(tmp_path, data)


def test_corrected_ucf101_does_not_overflow_and_counts_from_one(tmp_path):
    videos = read_corrected(tmp_path, CORRECTED)
    assert list(videos) == ["Run/a"] and videos["Run/a"].num_frames == 6
    (tube,) = videos["Run/a"].tubes
    assert tube.frames.tolist() == [2, 3]
    assert tube.boxes.tolist() == [[200, 100, 300, 190], [201, 101, 301, 191]]


def test_test_list_chooses_the_subset(tmp_path):
    assert list(read_corrected(tmp_path, CORRECTED, "test")) == ["Wave/b"]
    with pytest.raises(AnnotationError, match=r"list\.txt: none of its 1 lines is a video"):
        read_corrected(tmp_path, CORRECTED, test_list="wave/b\n")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("label", 2, "has the label 2, there are 2"),
        ("ef", 5, "has 2 boxes for the frames from 1 to before 5"),
        ("sf", None, "has no key 'sf'"),
        ("boxes", [1], r"\['boxes'\] is a list, expected ndarray"),
    ],
)
def test_damaged_corrected_file_names_file_video_and_key(tmp_path, key, value, message):
    data = _damage(CORRECTED, "Run/a", "annotations", 0, key, value=value)
    with pytest.raises(
        AnnotationError, match=r"annot\.pkl\['Run/a'\]\['annotations'\].*" + message
    ):
        read_corrected(tmp_path, data)


def test_boxes_at_frames_with_and_without_a_box():
    tube = ActionTube(0, np.array([2, 3, 7]), np.arange(12, dtype=np.float32).reshape(3, 4))
    boxes = tube.boxes_at(np.array([9, 3, 1, 2, 4]))
    assert boxes[[1, 3]].tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert np.isnan(boxes[[0, 2, 4]]).all()


@needs_shared
@pytest.mark.parametrize(
    ("split", "counts"),
    [(1, (660, 22713, 268, 9139)), (2, (658, 22895, 270, 8957)), (3, (663, 22807, 265, 9045))],
)
def test_real_jhmdb(split, counts):
    found = []
    for subset in ("train", "test"):
        videos = read_act_groundtruth(
            _SHARED / "jhmdb/JHMDB-GT.pkl", action_names=JHMDB_ACTIONS, split=split, subset=subset
        )
        found += [len(videos), sum(video.num_frames for video in videos.values())]
        for video in videos.values():
            (tube,) = video.tubes
            assert tube.frames.tolist() == list(range(1, video.num_frames + 1))
    assert tuple(found) == counts


@needs_shared
def test_real_ucf101_24():
    folder = _SHARED / "ucf101_24"
    counts = {}
    for subset in ("train", "test"):
        videos = read_corrected_ucf101(
            folder / "pyannot.pkl",
            action_names=UCF101_24_ACTIONS,
            test_list=folder / "testlist01.txt",
            subset=subset,
        )
        tubes = [tube for video in videos.values() for tube in video.tubes]
        assert all(
            (tube.boxes >= 0).all() and (tube.boxes <= (320, 240, 320, 240)).all() for tube in tubes
        )
        frames = sum(video.num_frames for video in videos.values())
        counts[subset] = (len(videos), frames, sum(len(tube.frames) for tube in tubes))
    assert counts == {"train": (2284, 395868, 403282), "test": (910, 159289, 170580)}
