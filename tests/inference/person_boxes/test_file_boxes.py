"""Person boxes of files at the key frames of a video."""

from fractions import Fraction

import numpy as np
import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes.table import BoxRows
from tubedet.data.video.sources import FrameSource
from tubedet.errors import UserError
from tubedet.inference.person_boxes import FileBoxes, ImageDetector, PersonBoxSource, as_box_source
from tubedet.inference.person_boxes.file_boxes import folder_reader


class Film(FrameSource):
    """Ten seconds of a 200x100 video at 10 frames a second."""

    name, rate, height, width, duration = "film", Fraction(10), 100, 200, 10.0

    def stored_frames(self, start=0.0):
        raise NotImplementedError


def make(*rows, in_seconds=True, in_pixels=False):
    collected = BoxRows("boxes.csv")
    for video, time, box, score, *track in rows:
        collected.add(video, time, box, score, track_id=track[0] if track else -1)
    return collected.finish("test", in_seconds=in_seconds, in_pixels=in_pixels)


def persons(boxes, time, every=1.0, **options):
    with FileBoxes(boxes, **options).opened(Film(), every=every, start=0.0, end=None) as find:
        return find(time, None)


LEFT, RIGHT = (0.0, 0.0, 0.25, 0.5), (0.5, 0.0, 0.75, 0.5)


def test_boxes_of_the_nearest_moment_count_up_to_half_a_distance():
    boxes = make(("film", 1.0, LEFT, 0.75), ("film", 1.0, RIGHT, 0.5), ("film", 2.2, LEFT, 0.25))
    found = persons(boxes, 1.5)
    assert found.boxes.tolist() == [list(LEFT), list(RIGHT)]
    assert found.scores.tolist() == [0.75, 0.5] and found.track_ids is None
    assert persons(boxes, 1.75).scores.tolist() == [0.25]
    assert len(persons(boxes, 1.6, every=0.5).boxes) == 0
    assert len(persons(boxes, 2.8).boxes) == 0


def test_frames_are_counted_at_the_rate_of_the_video_and_pixels_by_its_size():
    boxes = make(("", 11, (20, 10, 100, 50), 0.5), in_seconds=False, in_pixels=True)
    found = persons(boxes, 1.0, every=0.1)
    np.testing.assert_allclose(found.boxes, [[0.1, 0.1, 0.5, 0.5]])
    assert len(persons(boxes, 1.1, every=0.1).boxes) == 0


def test_a_file_may_count_from_another_second():
    boxes = make(("film", 903.0, LEFT, 0.5))
    assert len(persons(boxes, 3.0, start_second=900.0).boxes) == 1
    with pytest.raises(UserError, match="1 of 1 boxes .* 10.0 seconds, the first at 903.0 s; .*"):
        persons(boxes, 3.0)


def test_some_boxes_beyond_the_video_are_said(caplog):
    persons(make(("film", 3.0, LEFT, 0.5), ("film", 12.0, LEFT, 0.5)), 3.0)
    assert (
        "boxes.csv: 1 of 2 boxes of 'film' lie outside of its 10.0 seconds, the first at 12.0"
        in (caplog.text)
    )


def test_persons_move_along_their_tracks_and_keep_their_numbers():
    boxes = make(
        ("film", 1.0, (0.0, 0.0, 0.2, 0.4), 0.5, 7),
        ("film", 2.0, (0.4, 0.2, 0.6, 0.6), 1.0, 7),
        ("film", 2.0, RIGHT, 0.25, 3),
        ("film", 5.0, RIGHT, 0.25, 3),
    )
    found = persons(boxes, 1.25)
    np.testing.assert_allclose(found.boxes, [[0.1, 0.05, 0.3, 0.45]])
    assert found.scores.tolist() == [0.625] and found.track_ids.tolist() == [7]
    both = persons(boxes, 2.0)
    assert both.track_ids.tolist() == [7, 3]
    assert both.boxes.tolist() == [[0.4, 0.2, 0.6, 0.6], list(RIGHT)]
    # Three seconds without a box are no path, and behind the end nobody stays.
    assert persons(boxes, 3.5).track_ids.tolist() == []
    assert persons(boxes, 2.4).track_ids.tolist() == [7, 3]
    assert persons(boxes, 2.6).track_ids.tolist() == []
    assert persons(boxes, 0.4).boxes.shape == (0, 4)


def test_persons_become_proposals_in_pixels_of_the_clip():
    proposals = persons(make(("film", 1.0, RIGHT, 0.5, 4)), 1.0).instances(48, 96)
    assert proposals.image_size == (48, 96)
    assert proposals.proposal_boxes.tensor.tolist() == [[48, 0, 72, 24]]
    assert proposals.scores.tolist() == [0.5] and proposals.person_ids.tolist() == [4]
    without = persons(make(("film", 1.0, RIGHT, 0.5)), 3.0).instances(48, 96)
    assert len(without) == 0 and not without.has("person_ids")


def test_a_folder_has_a_file_for_each_video(tmp_path):
    (tmp_path / "film.csv").write_text("film,1,0.0,0.0,0.25,0.5,,0.75\n")
    (tmp_path / "other.mp4.csv").write_text("other,1,0.0,0.0,0.25,0.5,,0.5\n")
    (tmp_path / "street/det").mkdir(parents=True)
    (tmp_path / "street/det/det.txt").write_text("1,-1,1,1,9,9,0.25,-1,-1,-1\n")
    read = folder_reader(tmp_path)
    assert [read(name).scores.tolist() for name in ("film", "other", "street")] == [
        [0.75],
        [0.5],
        [0.25],
    ]
    with pytest.raises(UserError, match="no file film2.* for the video 'film2'; one file"):
        read("film2")
    (tmp_path / "film.json").write_text("[]")
    with pytest.raises(UserError, match="film.csv and film.json for the video 'film'; one file"):
        read("film")


def test_fault_an_unknown_video_is_named():
    with pytest.raises(AnnotationError, match="no boxes of the video 'film'; the file has 'walk'"):
        persons(make(("walk", 1.0, LEFT, 0.5)), 1.0)


def test_every_kind_of_source_is_recognised():
    boxes = make(("film", 1.0, LEFT, 0.5))
    assert as_box_source(None) is None
    assert isinstance(as_box_source(boxes), FileBoxes)
    assert isinstance(as_box_source(lambda image: []), ImageDetector)
    source = FileBoxes(boxes)
    assert isinstance(source, PersonBoxSource) and as_box_source(source) is source
    with pytest.raises(TypeError, match="must be a PersonBoxSource, .* got str"):
        as_box_source("boxes.csv")
