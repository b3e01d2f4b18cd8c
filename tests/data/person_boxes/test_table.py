"""Boxes of persons by video and time."""

import numpy as np
import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import table
from tubedet.data.person_boxes.table import BoxRows


@pytest.fixture
def boxes():
    rows = BoxRows("boxes.csv")
    rows.add("walk.mp4", 3.0, (0, 0, 0.5, 0.5), 0.5, track_id=2)
    rows.add("walk.mp4", 1.0, (0.5, 0, 1, 1), 0.25, track_id=7)
    rows.add("walk.mp4", 1.0, (0, 0, 0.5, 1), 0.75, track_id=1)
    rows.add("day/run", 2.0, (0, 0, 1, 1), 0.125, track_id=1)
    rows.add_moment("day/run", 5.0)
    return rows.finish("test", in_seconds=True)


def test_boxes_are_ordered_by_video_and_time_and_keep_the_order_of_a_moment(boxes):
    assert boxes.videos == ("walk.mp4", "day/run")
    assert boxes.times.tolist() == [1, 1, 3, 2]
    assert boxes.track_ids.tolist() == [7, 1, 2, 1]
    assert boxes.has_tracks and ("day/run", 5.0) in boxes.moments


def test_a_video_is_found_with_and_without_its_ending(boxes):
    assert boxes.rows_of("walk") == boxes.rows_of("walk.mp4") == slice(0, 3)
    assert boxes.rows_of("day/run.avi") == slice(3, 4)
    assert boxes.find_video("run") is None and boxes.rows_of("run") == slice(0, 0)


@pytest.mark.parametrize(
    ("time", "within", "rows"),
    [
        (1.0, 0.0, (0, 2)),
        (1.1, 0.05, (0, 0)),
        (1.1, 0.2, (0, 2)),
        (1.9, 1.5, (0, 2)),
        (2.1, 1.5, (2, 3)),
        (9.0, 1.0, (0, 0)),
        (9.0, 6.0, (2, 3)),
        (0.0, 1.0, (0, 2)),
    ],
)
def test_the_nearest_moment_counts_if_it_is_near_enough(boxes, time, within, rows):
    assert boxes.rows_at("walk", time, within) == slice(*rows)


def test_scores_decide_what_is_kept(boxes):
    assert boxes.with_scores_from(0.5).track_ids.tolist() == [1, 2]
    best = boxes.with_scores_from(0.9, keep_best=True)
    assert best.scores.tolist() == [0.75, 0.5, 0.125]
    assert len(boxes.with_scores_from(0.9)) == 0
    assert len(boxes.with_scores_from(0.9).with_scores_from(0.9, keep_best=True)) == 0


def test_equal_boxes_of_two_tracks_stay_two(boxes):
    rows = BoxRows("boxes.csv")
    for track, score in ((4, 0.5), (5, 0.25), (4, 0.75)):
        rows.add("a", 0.0, (0, 0, 1, 1), score, track_id=track, actions=(track,))
    found = rows.finish("test", in_seconds=False)
    assert found.track_ids.tolist() == [4, 5] and found.scores.tolist() == [0.75, 0.25]
    assert found.actions == ((4,), (5,))


def test_a_file_of_one_unnamed_video_is_about_any():
    rows = BoxRows("gt.txt")
    rows.add("", 1, (0, 0, 9, 9), 1.0)
    assert rows.finish("mot", in_seconds=False).rows_of("street.avi") == slice(0, 1)


def test_fault_a_missing_video_is_told_with_those_that_are_there(boxes):
    message = str(boxes.unknown_video("run"))
    assert message == (
        "boxes.csv: no boxes of the video 'run'; the file has 'walk.mp4', 'day/run': rename the "
        "video, or the videos in the file"
    )


def test_fault_too_many_boxes_are_refused(monkeypatch):
    monkeypatch.setattr(table, "MOST_BOXES", 2)
    rows = BoxRows("boxes.csv")
    for x in (0.0, 0.1):
        rows.add("a", 0.0, (x, 0, 1, 1), 1.0)
    with pytest.raises(AnnotationError, match="boxes.csv: more than 2 boxes; split the file"):
        rows.add("a", 0.0, (0.2, 0, 1, 1), 1.0)


def test_no_boxes_are_a_table_too():
    found = BoxRows("boxes.csv").finish("test", in_seconds=True)
    assert len(found) == 0 and found.boxes.shape == (0, 4) and not found.has_tracks
    assert found.rows_at("a", 1.0) == slice(0, 0)
    assert np.array_equal(found.with_scores_from(0.5).scores, [])
