"""Ground truth of action tubes from a registered data set."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data.annotations.tube_files import ActionTube, AnnotatedVideo
from tubedet.data.datasets.action_tubes import register_action_tubes
from tubedet.errors import UserError
from tubedet.evaluation.action_tube_groundtruth import load_action_tube_groundtruth

NAME = "groundtruth_test"
TUBE = ActionTube(1, np.array([2, 3]), np.array([[10, 5, 20, 40], [12, 5, 22, 40]], np.float32))


@pytest.fixture
def register(tmp_path):
    """Registers videos; frames lie in tmp_path."""

    def register(**videos):
        register_action_tubes(
            NAME,
            lambda: videos,
            action_names=["run", "sit"],
            frames_dir=str(tmp_path),
            videos_dir=str(tmp_path),
            fps=30.0,
            exclusive_actions=True,
        )

    yield register
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_a_registered_data_set(register):
    register(
        a=AnnotatedVideo([TUBE], num_frames=4, size=(50, 100)),
        b=AnnotatedVideo([], num_frames=9, key_frames=[3, 9], size=(60, 80)),
    )
    groundtruth = load_action_tube_groundtruth(NAME)
    assert groundtruth.source == NAME
    assert groundtruth.action_names == ["run", "sit"]
    assert groundtruth.tubes == {"a": [TUBE], "b": []}
    assert groundtruth.frame_numbers == {"a": [1, 2, 3, 4], "b": [3, 9]}
    assert groundtruth.frame_sizes == {"a": (50, 100), "b": (60, 80)}

    table = groundtruth.table()
    assert table.source == NAME
    assert table.video_ids.tolist() == ["a", "a"]
    assert table.timestamps.tolist() == [2, 3]
    assert table.action_ids.tolist() == [2, 2]
    assert table.boxes.tolist() == [[0.1, 0.1, 0.2, 0.8], [0.12, 0.1, 0.22, 0.8]]
    assert groundtruth.extents(["b", "a"]).tolist() == [[80, 60, 80, 60], [100, 50, 100, 50]]


def test_nobody_in_any_video(register):
    register(a=AnnotatedVideo([], num_frames=1, size=(50, 100)))
    assert len(load_action_tube_groundtruth(NAME).table()) == 0


def test_a_size_that_is_not_annotated_is_read_from_the_media(register, tmp_path):
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "00001.png"), np.zeros((30, 40, 3), np.uint8))
    register(a=AnnotatedVideo([TUBE], num_frames=3))
    assert load_action_tube_groundtruth(NAME).frame_sizes == {"a": (30, 40)}


def test_a_size_that_nobody_knows_is_an_error(register, tmp_path):
    register(a=AnnotatedVideo([TUBE], num_frames=3))
    with pytest.raises(UserError, match=f"{tmp_path}/a.*: cannot be opened .*; the annotations of"):
        load_action_tube_groundtruth(NAME)
