import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tubedet.data import ActionTube, register_action_tubes
from tubedet.data.annotations.tube_files import AnnotatedVideo
from tubedet.data.datasets.action_tubes import annotated_frames, other_persons, tube_boxes


def _tube(label, frames, x, person_id):
    frames = np.array(frames)
    boxes = np.stack([frames, frames, frames + 10, frames + 20], axis=1).astype(np.float32)
    return ActionTube(label, frames, boxes + np.float32([x, 0, x, 0]), person_id)


VIDEOS = {
    "run/a": AnnotatedVideo(
        [_tube(0, [1, 2, 3], 0, 0), _tube(2, [2, 3], 0, 0), _tube(1, [3, 5], 50, 1)],
        num_frames=5,
        size=(60, 80),
    ),
    "b": AnnotatedVideo([_tube(1, [4], 0, 7)], num_frames=4, key_frames=[2, 4]),
}


@pytest.fixture
def registered(tmp_path):
    """Name of the data set and the list of the times when its annotation was read."""
    name, reads = f"tubes_{tmp_path.name}", []
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "b.avi").touch()
    register_action_tubes(
        name,
        lambda: reads.append(1) or VIDEOS,
        action_names=("run", "wave", "sing"),
        frames_dir=str(tmp_path / "frames"),
        videos_dir=str(tmp_path / "videos"),
        fps=25.0,
        exclusive_actions=True,
    )
    yield name, reads
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_one_dict_per_frame(registered, tmp_path):
    name, _ = registered
    dicts = DatasetCatalog.get(name)
    assert [(d["video_id"], d["frame_number"], len(d["annotations"])) for d in dicts] == [
        *(("run/a", 1, 1), ("run/a", 2, 1), ("run/a", 3, 2), ("run/a", 4, 0), ("run/a", 5, 1)),
        *(("b", 2, 0), ("b", 4, 1)),
    ]
    third = dicts[2]
    assert {k: v for k, v in third.items() if k != "annotations"} == {
        "video_id": "run/a",
        "video": str(tmp_path / "videos/run/a.mp4"),
        "fps": 25.0,
        "start_second": 0.0,
        "dataset": name,
        "frame_number": 3,
        "timestamp": 2 / 25,
        "height": 60,
        "width": 80,
    }
    boxes = {"bbox_mode": BoxMode.XYXY_ABS}
    assert third["annotations"] == [
        {"bbox": [3, 3, 13, 23], "actions": [0, 2], "person_id": 0, **boxes},
        {"bbox": [53, 3, 63, 23], "actions": [1], "person_id": 1, **boxes},
    ]
    assert dicts[-1]["video"] == str(tmp_path / "videos/b.avi") and "height" not in dicts[-1]


def test_annotation_is_read_once_and_not_before_it_is_needed(registered):
    name, reads = registered
    metadata = MetadataCatalog.get(name)
    assert metadata.action_names == ["run", "wave", "sing"] and metadata.exclusive_actions
    assert metadata.evaluator_type == "action_tubes" and reads == []
    assert metadata.tubes() == {"run/a": VIDEOS["run/a"].tubes, "b": VIDEOS["b"].tubes}
    assert metadata.num_frames() == {"run/a": 5, "b": 4}
    assert metadata.key_frames() == {"run/a": None, "b": [2, 4]}
    DatasetCatalog.get(name)
    assert reads == [1]


def test_tube_boxes_follow_persons_and_stay_within_the_video(registered):
    name, _ = registered
    record = DatasetCatalog.get(name)[2]
    boxes = tube_boxes(record, np.array([-3, 1, 2, 3, 4, 5, 9]), num_stored=5)
    nan = float("nan")
    np.testing.assert_array_equal(boxes[0, :, 0], [1, 1, 2, 3, nan, nan, nan])
    np.testing.assert_array_equal(boxes[1, :, 0], [nan, nan, nan, 53, nan, 55, 55])
    np.testing.assert_array_equal(boxes[0, 2], [2, 2, 12, 22])
    # Of a video that is shorter than annotated, frame 3 is shown instead of frame 5.
    np.testing.assert_array_equal(tube_boxes(record, np.array([5]), num_stored=3)[1, 0, 0], 53)
    assert np.isnan(tube_boxes(record, np.array([9]), num_stored=9)).all()


def test_persons_of_other_frames_have_their_actions(registered):
    name, _ = registered
    dicts = DatasetCatalog.get(name)
    # Frame 4 shows nobody, frame 5 one of two persons.
    everybody = [{"person_id": 0, "actions": [0, 2]}, {"person_id": 1, "actions": [1]}]
    assert other_persons(dicts[3], np.array([2, 3, 4])) == everybody
    assert other_persons(dicts[3], np.array([4, 5])) == everybody[1:]
    assert other_persons(dicts[4], np.array([1, 3, 5])) == everybody[:1]


def test_frames_are_annotated_within_the_video_or_where_the_file_says(registered):
    name, _ = registered
    dicts, numbers = DatasetCatalog.get(name), np.array([0, 1, 2, 4, 5, 6])
    within = annotated_frames(dicts[0], numbers, num_stored=9)
    assert within.tolist() == [False, True, True, True, True, False]
    short = annotated_frames(dicts[0], numbers, num_stored=4)
    assert short.tolist() == [False, True, True, True, False, False]
    listed = annotated_frames(dicts[-1], numbers, num_stored=9)
    assert listed.tolist() == [False, False, True, True, False, False]
