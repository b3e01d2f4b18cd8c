"""Tracks and detections of MOTChallenge as person boxes."""

import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import read_person_boxes

TRACKS = "1,5,100,50,40,80,0.5,-1,-1,-1\n2,5,110,50,40,80,1,-1,-1,-1\n2,9,10,5,20,40,-1,-1,-1,-1\n"


def test_detections_have_scores_and_no_tracks(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,649.5,231.5,44.5,86.5,0.75,-1,-1,-1\n")
    boxes = read_person_boxes(path)
    assert boxes.format == "mot" and boxes.in_pixels and not boxes.in_seconds
    assert boxes.boxes.tolist() == [[649.5, 231.5, 694.0, 318.0]]
    assert boxes.scores.tolist() == [0.75] and not boxes.has_tracks
    assert boxes.find_video("anything.mp4") == ""


def test_tracks_keep_their_numbers_and_frames_count_from_one(tmp_path):
    path = tmp_path / "tracks.txt"
    path.write_text(TRACKS)
    boxes = read_person_boxes(path)
    assert boxes.has_tracks and boxes.track_ids.tolist() == [5, 5, 9]
    assert boxes.times.tolist() == [1, 2, 2] and boxes.scores.tolist() == [0.5, 1, 1]
    assert read_person_boxes(path, first_frame=0).times.tolist() == [2, 3, 3]


def test_the_size_of_a_seqinfo_makes_fractions(tmp_path):
    (tmp_path / "tracks.txt").write_text(TRACKS)
    (tmp_path / "seqinfo.ini").write_text(
        "[Sequence]\nname=street\nimDir=img1\nseqLength=9\nimWidth=200\nimHeight=100\n"
    )
    boxes = read_person_boxes(tmp_path / "tracks.txt")
    assert not boxes.in_pixels
    assert boxes.boxes[0].tolist() == [0.5, 0.5, 0.7, 1.3]


def test_rows_that_do_not_count_are_left_out(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,5,100,50,40,80,0,1,1.0\n1,6,100,50,40,80,1,1,1.0\n")
    boxes = read_person_boxes(path)
    assert boxes.track_ids.tolist() == [6]
    assert dict(boxes.remarks) == {"rows whose column 7 is 0: left out": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,1,1,1,9,9,37.5,-1,-1,-1", r":2: the score 37.5 in column 7, expected 0 to 1: divide"),
        ("0,1,1,1,9,9,1,-1,-1,-1", r":2: the frame 0, but the first one is 1; .*--first-frame 0"),
        ("2,1,1,1,-9,9,1,-1,-1,-1", r":2: the width or height is below 0"),
    ],
)
def test_fault_a_wrong_row_is_named(tmp_path, row, message):
    path = tmp_path / "det.txt"
    path.write_text("1,1,1,1,9,9,1,-1,-1,-1\n" + row + "\n")
    with pytest.raises(AnnotationError, match=message):
        read_person_boxes(path)
