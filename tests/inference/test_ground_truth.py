import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tubedet.errors import UserError
from tubedet.inference.ground_truth import VideoGroundTruth, read_ground_truth


def _record(second, *persons, video="a.mp4"):
    """Persons are (id, left, action)."""
    return {
        "video": video,
        "timestamp": 900.0 + second,
        "start_second": 900,
        "width": 200,
        "height": 100,
        "annotations": [
            {
                "bbox": [left, 10, left + 20, 50],
                "bbox_mode": BoxMode.XYXY_ABS,
                "actions": [action],
                **({"person_id": person_id} if person_id is not None else {}),
            }
            for person_id, left, action in persons
        ],
    }


def _shown(truth, time):
    annotations = truth.at(time)
    if annotations is None:
        return None
    return [(round(float(a["bbox"][0] * 200), 3), a["actions"][0]) for a in annotations]


def test_boxes_move_between_key_frames():
    truth = VideoGroundTruth(
        [_record(2, (7, 10, 0), (8, 100, 1)), _record(3, (7, 30, 1), (9, 150, 0))], ["a", "b"]
    )
    assert _shown(truth, 2.0) == [(10, 0), (100, 1)]
    assert _shown(truth, 2.25) == [(15, 0), (100, 1)]
    assert _shown(truth, 2.75) == [(25, 1), (150, 0)]
    assert _shown(truth, 3.0) == [(30, 1), (150, 0)]
    np.testing.assert_allclose(truth.at(2.0)[0]["bbox"], [0.05, 0.1, 0.15, 0.5])


def test_where_nothing_is_annotated_it_says_so():
    seconds = (2, 3, 6)  # two were left out
    truth = VideoGroundTruth([_record(second, (None, 10, 0)) for second in seconds], ["a"])
    assert [_shown(truth, t) for t in (0.0, 1.4, 1.6)] == [None, None, [(10, 0)]]
    assert [_shown(truth, t) for t in (2.4, 2.6)] == [[(10, 0)]] * 2
    assert [_shown(truth, t) for t in (3.4, 3.6, 5.4, 5.6, 6.4, 6.6)] == [
        *([(10, 0)], None, None, [(10, 0)], [(10, 0)], None)
    ]
    # Nobody at a key frame is something else.
    assert VideoGroundTruth([_record(2)], ["a"]).at(2.0) == []


def test_the_video_is_found_by_its_path(tmp_path):
    name = f"ground truth of {tmp_path.name}"
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    records = [_record(0, (1, 10, 0), video=str(tmp_path / "a.mp4"))]
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).action_names = ["a"]
    truth = read_ground_truth(name, str(tmp_path / "link.mp4"))
    assert truth.action_names == ["a"] and _shown(truth, 0.0) == [(10, 0)]
    with pytest.raises(UserError, match=r"has no annotations of other\.mp4"):
        read_ground_truth(name, "other.mp4")
    with pytest.raises(UserError, match="no data set 'nothing': give a registered name or"):
        read_ground_truth("nothing", "a.mp4")
