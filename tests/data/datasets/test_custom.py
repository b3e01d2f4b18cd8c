import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tubedet.data import AnnotationError, ClipDatasetMapper, ensure_registered
from tubedet.data.annotations.tube_files import read_corrected_ucf101
from tubedet.data.datasets.action_tubes import register_action_tubes
from tubedet.data.datasets.builtin import UCF101_24_ACTIONS
from tubedet.data.datasets.custom import check_actions, file_stem
from tubedet.engine import load_config
from tubedet.evaluation import evaluate_action_tubes, load_action_tube_groundtruth

_SHARED = Path(__file__).parents[4] / "shared/data"

SECONDS = """\
gym,1,0.25,0.25,0.75,0.75,1,0
gym,1,0.25,0.25,0.75,0.75,3,0
gym,1.5,0.00,0.00,0.50,1.00,2,1
gym,2
hall,1,0.10,0.20,0.30,0.40,3
"""
FRAMES = """\
gym,2,16,12,48,36,1,5
gym,1,16,12,48,36,1,5
gym,2,16,12,48,36,3,5
gym,1,0,0,8,8,2,6
gym,4
"""


@pytest.fixture
def make(tmp_path, write_video):
    """Function which writes a data set, registers its yaml and returns the name."""
    (tmp_path / "media").mkdir()
    for name in ("gym", "hall"):
        write_video(tmp_path / "media" / f"{name}.mp4", 30, rate=10)
    names = []

    def make(csv, stem="my", **keys):
        (tmp_path / f"{stem}.csv").write_text(csv)
        keys = {"classes": "[run, wave, sit]", "fps": 10, **keys}
        lines = [f"{key}: {value}\n" for key, value in keys.items()]
        path = tmp_path / f"{stem}.yaml"
        path.write_text(f"videos: media\nannotations: {stem}.csv\n" + "".join(lines))
        ensure_registered(str(path))
        names.append(str(path))
        return str(path)

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_each_video_starts_at_its_own_second(make, tmp_path):
    (tmp_path / "starts.csv").write_text("gym,-1\nhall,0.5\n")
    dicts = DatasetCatalog.get(make(SECONDS, start_second="starts.csv"))
    assert {(d["video_id"], d["start_second"]) for d in dicts} == {("gym", -1.0), ("hall", 0.5)}
    (tmp_path / "starts.csv").write_text("gym,-1\n")
    name = make(SECONDS, "other", start_second="starts.csv")
    with pytest.raises(AnnotationError, match="other.csv:5: key 'start_second': .* video 'hall'"):
        DatasetCatalog.get(name)


def test_key_frames_in_seconds(make, tmp_path):
    name = make(SECONDS, start_second=0.5)
    dicts = DatasetCatalog.get(name)
    keys = [(d["video_id"], d["timestamp"], len(d["annotations"])) for d in dicts]
    assert keys == [("gym", 1.0, 1), ("gym", 1.5, 1), ("gym", 2.0, 0), ("hall", 1.0, 1)]
    assert dicts[0] == {
        "video_id": "gym",
        "timestamp": 1.0,
        "video": str(tmp_path / "media/gym.mp4"),
        "fps": 10.0,
        "start_second": 0.5,
        "annotations": [
            {
                "bbox": [0.25, 0.25, 0.75, 0.75],
                "bbox_mode": BoxMode.XYXY_REL,
                "actions": [0, 2],
                "person_id": 0,
            }
        ],
    }
    metadata = MetadataCatalog.get(name)
    assert metadata.action_names == ["run", "wave", "sit"] and not metadata.exclusive_actions
    assert metadata.evaluator_type == "ava" and metadata.custom_dataset.start_second == 0.5


def test_pixels_and_exclusions_in_seconds(make, tmp_path):
    (tmp_path / "ex.csv").write_text("gym,2\n")
    name = make("gym,1,16,12,48,36,1\ngym,2,0,0,9,9,2\n", boxes="pixels", excluded="ex.csv")
    (record,) = DatasetCatalog.get(name)
    assert record["annotations"][0]["bbox"] == [16, 12, 48, 36]
    assert record["annotations"][0]["bbox_mode"] == BoxMode.XYXY_ABS
    table, label_map, excluded = MetadataCatalog.get(name).groundtruth(ava_kinetics=False)
    # Stored frames have 64 x 48 pixels.
    assert table.boxes[0].tolist() == [0.25, 0.25, 0.75, 0.75] and len(table) == 2
    assert label_map == {1: "run", 2: "wave", 3: "sit"} and excluded == {("gym", 2.0)}


def test_the_protocol_of_2020_has_no_excluded_key_frames(make, tmp_path):
    (tmp_path / "ex.csv").write_text("gym,1\ngym,2\n")
    name = make(SECONDS, excluded="ex.csv")
    table, _, excluded = MetadataCatalog.get(name).groundtruth(ava_kinetics=True)
    assert list(zip(table.video_ids, table.timestamps)) == [("gym", 1.5), ("hall", 1.0)]
    assert table.lines.tolist() == [3, 5]
    assert table.empty_key_frames == table.empty_lines == () and excluded == set()


def test_boxes_beyond_the_frames_are_not_made_fractions(make):
    name = make("gym,1,16,12,65,49,1\nhall,2,0,0,66,48,2\n", boxes="pixels")
    with pytest.raises(AnnotationError, match=r"my\.csv:2: .*have 64x48 pixels; were the videos"):
        MetadataCatalog.get(name).groundtruth(ava_kinetics=False)


def test_what_is_done_twice_are_two_tubes(make):
    rows = [f"gym,{n},16,12,48,36,{1 if n < 6 or n > 9 else 2},5\n" for n in range(2, 30, 2)]
    name = make("".join(rows) + "gym,21\n", timestamps="frames", boxes="pixels")
    tubes = MetadataCatalog.get(name).tubes()["gym"]
    found = [(t.person_id, t.label, t.frames.tolist()) for t in tubes]
    late = [list(range(10, 21, 2)), list(range(22, 29, 2))]  # frame 21 is said to be empty
    assert found == [(5, 0, [2, 4]), (5, 0, late[0]), (5, 0, late[1]), (5, 1, [6, 8])]
    # Who finds every box finds every tube, however short.
    groundtruth = load_action_tube_groundtruth(name)
    assert groundtruth.min_tube_length == 2
    result = evaluate_action_tubes(groundtruth, groundtruth.table(), "act")
    assert result.frame_map == 1 and result.num_tubes == 4
    assert set(result.video_map.values()) == {1}


@pytest.mark.parametrize("boxes", ["pixels", "fractions"])
def test_tubes_in_frames(make, boxes):
    csv = FRAMES
    if boxes == "fractions":
        csv = csv.replace("16,12,48,36", "0.25,0.25,0.75,0.75").replace("0,0,8,8", "0,0,0.125,1")
    name = make(csv, timestamps="frames", boxes=boxes)
    metadata = MetadataCatalog.get(name)
    tubes = metadata.tubes()["gym"]
    found = {(t.person_id, t.label): t.frames.tolist() for t in tubes}
    assert found == {(5, 0): [1, 2], (5, 2): [2], (6, 1): [1]}
    assert tubes[0].boxes.tolist() == [[16, 12, 48, 36]] * 2 and metadata.num_frames() == {"gym": 4}
    dicts = DatasetCatalog.get(name)
    assert [(d["frame_number"], d["timestamp"], len(d["annotations"])) for d in dicts] == [
        *((1, 0.0, 2), (2, 0.1, 1), (4, 0.3, 0)),
    ]
    assert dicts[1]["annotations"][0]["actions"] == [0, 2]
    assert dicts[0]["dataset"] == name


def test_excluded_frames_are_in_no_tube(make, tmp_path):
    (tmp_path / "ex.csv").write_text("gym,2\n")
    name = make(FRAMES, timestamps="frames", boxes="pixels", excluded="ex.csv")
    assert [d["frame_number"] for d in DatasetCatalog.get(name)] == [1, 4]
    tubes = MetadataCatalog.get(name).tubes()["gym"]
    assert [(t.person_id, t.label, t.frames.tolist()) for t in tubes] == [(5, 0, [1]), (6, 1, [1])]


@pytest.mark.parametrize(
    ("csv", "keys", "line", "message"),
    [
        ("gym,1,0,0,1,1,4\n", {}, 1, "action id 4: 'classes' have the ids 1 to 3"),
        ("gym,1,0,0,1,1,0\n", {}, 1, "action id 0: 'classes' have the ids 1 to 3"),
        ("gym,1,0,0,1,1,1\ngym,2,0.5,0,0.5,1,1\n", {}, 2, "not a box"),
        ("gym,1,0,0,30,30,1\n", {}, 1, "say 'boxes: pixels'"),
        ("gym,1,0,0,1,1,1\n", {"boxes": "pixels"}, 1, "say 'boxes: fractions'"),
        ("gym,1,0,0,1,1,1,0\ngym,1,0,0,1,1,2,0\n", {"exclusive": "true"}, 2, "'exclusive' is true"),
        ("gym,1,0,0,1,1\n", {}, 1, "6 columns"),
        (
            "gym,1,0,0,1,1,1\n",
            {"timestamps": "frames"},
            1,
            "needs a person id, a whole number, in column 8",
        ),
        ("gym,1,0,0,1,1,1,0.5\n", {"timestamps": "frames"}, 1, "needs a person id"),
        ("gym,1.5,0,0,1,1,1,0\n", {"timestamps": "frames"}, 1, "say 'timestamps: seconds'"),
        ("gym,1,0,0,1,1,1,0\ngym,0\n", {"timestamps": "frames"}, 2, "not a frame number 1, 2"),
        ("gym,1e30,0,0,1,1,1,0\n", {"timestamps": "frames"}, 1, "not a frame number 1, 2"),
        (
            "gym,1,0,0,1,1,1,0\ngym,1,0,0,0.5,1,1,0\n",
            {"timestamps": "frames"},
            2,
            "this person has this action in this frame already",
        ),
    ],
)
def test_errors_name_file_line_and_key(make, csv, keys, line, message):
    name = make(csv, **keys)
    with pytest.raises(AnnotationError, match=rf"my\.csv:{line}: .*{message}"):
        DatasetCatalog.get(name)


def test_a_missing_yaml_and_other_names():
    with pytest.raises(FileNotFoundError):
        ensure_registered("no/such.yaml")
    ensure_registered("not_registered")
    assert "not_registered" not in DatasetCatalog.list()


def test_files_are_named_after_the_yaml():
    assert file_stem("/a/b/my.yaml") == "my" and file_stem("ava_v2.1_val") == "ava_v2.1_val"
    assert file_stem("gym/val") == "gym_val"  # one file, in the folder of results


def test_config_registers_and_its_actions_are_checked(make, tmp_path):
    first = make(SECONDS)
    DatasetCatalog.remove(first)
    MetadataCatalog.remove(first)
    cfg = load_config("", ["DATASETS.TRAIN", f"('{first}',)", "DATASETS.TEST", "()"])
    assert first in DatasetCatalog.list()
    with pytest.raises(ValueError, match=r"my\.yaml' has 3 actions, MODEL\.NUM_ACTIONS is 80"):
        check_actions(cfg, first)
    cfg.MODEL.PERSON_ONLY = True
    check_actions(cfg, first)
    cfg.MODEL.PERSON_ONLY = False
    cfg.MODEL.NUM_ACTIONS = 3
    check_actions(cfg, first)
    cfg.MODEL.EXCLUSIVE_ACTIONS = True
    with pytest.raises(ValueError, match="EXCLUSIVE_ACTIONS is True.*'exclusive: true'"):
        check_actions(cfg, first)
    check_actions(cfg, make(FRAMES, "other", exclusive="true", boxes="pixels", timestamps="frames"))


@pytest.mark.skipif(not _SHARED.exists(), reason=f"no {_SHARED}")
def test_real_clip_is_the_same_from_pickle_and_from_csv(make, tmp_path):
    """The UCF101-24 clip: same dicts, same clips, same targets, by frames and by seconds."""
    video_id, fps = "v_SoccerJuggling_g23_c01", 30000 / 1001
    pickled_id = f"SoccerJuggling/{video_id}"
    folder = tmp_path / "ucf/SoccerJuggling"
    folder.mkdir(parents=True)
    for link in (folder / f"{video_id}.avi", tmp_path / "media" / f"{video_id}.avi"):
        link.symlink_to(_SHARED / f"clips/{video_id}.avi")

    def load():
        videos = read_corrected_ucf101(
            _SHARED / "ucf101_24/pyannot.pkl",
            action_names=UCF101_24_ACTIONS,
            test_list=_SHARED / "ucf101_24/testlist01.txt",
            subset="train",
        )
        return {pickled_id: videos[pickled_id]}

    pickled = f"clip_{tmp_path.name}"
    register_action_tubes(
        pickled,
        load,
        action_names=UCF101_24_ACTIONS,
        frames_dir=str(tmp_path / "none"),
        videos_dir=str(tmp_path / "ucf"),
        fps=fps,
        exclusive_actions=True,
    )
    boxes = json.loads((_SHARED / "ucf101_24/soccer_juggling_g23_c01_boxes.json").read_text())
    rows = boxes[video_id]["tube_frame1based_xyxy"]
    keys = {"classes": list(UCF101_24_ACTIONS), "fps": "30000/1001", "boxes": "pixels"}
    keys["exclusive"] = "true"
    csv = "".join(f"{video_id},{n},{','.join(map(str, box))},19,0\n" for n, *box in rows)
    framed = make(csv, "frames", timestamps="frames", **keys)
    times = [(f"{(n - 1) / fps:.6f}", box) for n, *box in rows]
    csv = "".join(f"{video_id},{t},{','.join(map(str, box))},19,0\n" for t, box in times)
    timed = make(csv, "seconds", **keys)

    dicts = {name: DatasetCatalog.get(name) for name in (pickled, framed, timed)}
    assert [len(d) for d in dicts.values()] == [240] * 3
    common = ("timestamp", "fps", "start_second", "annotations")
    for one, other, third in zip(*dicts.values(), strict=True):
        assert one["video_id"] == pickled_id and other["video_id"] == video_id
        assert one["video"] == str(folder / f"{video_id}.avi")
        same = {*common, "frame_number"}
        assert {k: one[k] for k in same} == {k: other[k] for k in same}
        assert one.keys() == other.keys()
        assert {k: one[k] for k in common[1:]} == {k: third[k] for k in common[1:]}
        assert one["timestamp"] == pytest.approx(third["timestamp"], abs=1e-6)

    mapper = ClipDatasetMapper(
        True, augmentations=(), num_frames=8, frame_stride=1, fps=fps, num_actions=24
    )
    for index in (0, 100, 237):
        one, other, third = (mapper(d[index]) for d in dicts.values())
        for mapped in (other, third):
            assert torch.equal(one["clip"], mapped["clip"])
            same = one["instances"].gt_boxes.tensor
            assert torch.equal(same, mapped["instances"].gt_boxes.tensor)
            assert torch.equal(one["instances"].gt_actions, mapped["instances"].gt_actions)
        tubes = one["instances"].gt_tubes
        assert torch.equal(tubes, other["instances"].gt_tubes) and tubes.shape == (1, 8, 4)
        shown = np.clip(np.arange(8) - 4 + index, 0, 239)
        expected = torch.tensor([rows[i][1:] for i in shown], dtype=torch.float32)
        assert torch.equal(tubes[0], expected)
    DatasetCatalog.remove(pickled)
    MetadataCatalog.remove(pickled)
