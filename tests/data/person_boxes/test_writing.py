"""Person boxes as a csv."""

from pathlib import Path

import numpy as np
import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import read_person_boxes, write_person_boxes

FILES = Path(__file__).parents[2] / "fixtures/box_files"


@pytest.mark.parametrize("name", ["mmaction_proposals.pkl", "slowfast_predicted.csv"])
def test_what_is_written_is_read_again(tmp_path, name):
    boxes = read_person_boxes(FILES / name)
    write_person_boxes(boxes, tmp_path / "boxes.csv")
    again = read_person_boxes(tmp_path / "boxes.csv")
    assert again.format == "slowfast-csv" and again.videos == boxes.videos
    assert again.times.tolist() == boxes.times.tolist() and len(again) == len(boxes)
    np.testing.assert_allclose(again.boxes, boxes.boxes, rtol=1e-8)
    np.testing.assert_allclose(again.scores, boxes.scores, rtol=1e-8)


def test_every_label_has_a_row(tmp_path):
    (tmp_path / "in.csv").write_text("a,902,0.1,0.2,0.3,0.4,,0.9\na,902,0.5,0.2,0.75,0.4,7,0.5\n")
    with open(tmp_path / "in.csv", "a") as stream:
        stream.write("a,902,0.5,0.2,0.75,0.4,12,0.5\n")
    write_person_boxes(read_person_boxes(tmp_path / "in.csv"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == (tmp_path / "in.csv").read_text()


def test_fault_frames_and_pixels_are_refused(tmp_path):
    (tmp_path / "det.txt").write_text("1,-1,1,1,9,9,0.25,-1,-1,-1\n")
    with pytest.raises(AnnotationError, match="det.txt: mot counts frames; only boxes by seconds"):
        write_person_boxes(read_person_boxes(tmp_path / "det.txt"), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
