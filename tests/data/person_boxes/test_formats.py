"""Formats of person boxes found by content."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import formats, read_person_boxes
from tubedet.errors import UserError

FILES = Path(__file__).parents[2] / "fixtures/box_files"


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("a,902,0.1,0.2,0.3,0.4,,0.9\n", "slowfast-csv"),
        ("a,902,0.1,0.2,0.3,0.4,12,0.9\n", "ava-csv"),
        ("a,902,0.1,0.2,0.3,0.4,12,4\n", "ava-groundtruth"),
        ("a,902,0.1,0.2,0.3,0.4,12\na,903\n", "ava-groundtruth"),
        ("1,-1,649.4,231.5,44.4,86.1,0.99,-1,-1,-1\n", "mot"),
        ("1,1,649,231,44,86,1,1\n", "mot"),
        ("#frame,id\n1,1,649,231,44,86,1,1,1.0\n", "mot"),
        ('{"video": "a", "time": 0, "width": 9, "height": 9, "persons": []}\n', "json-lines"),
        (
            '{"images": [{"id": 1, "width": 9, "height": 9, "video": "a", "timestamp": 1}], '
            '"annotations": []}',
            "coco",
        ),
    ],
)
def test_a_format_is_found_by_the_content(tmp_path, text, format):
    for path in (tmp_path / "boxes", tmp_path / "boxes.gz"):
        path.write_bytes(gzip.compress(text.encode()) if path.suffix else text.encode())
        assert read_person_boxes(path).format == format


def test_results_of_coco_may_be_compressed(tmp_path):
    path = tmp_path / "boxes.json.gz"
    path.write_bytes(gzip.compress((FILES / "alphaction_boxes.json").read_bytes()))
    found = read_person_boxes(path, images=FILES / "alphaction_annotations.json")
    assert len(found) == 11


def test_a_pickle_is_found_whatever_its_name(tmp_path):
    shutil.copy(FILES / "mmaction_proposals.pkl", tmp_path / "boxes")
    assert read_person_boxes(tmp_path / "boxes").format == "mmaction2-pickle"


@pytest.mark.parametrize("text", ["walk, wave\n", "<annotations/>", "a,902,x,y,0.3,0.4,,0.9\n"])
def test_fault_an_unknown_format_asks_for_its_name(tmp_path, text):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(AnnotationError, match="no known format .* --boxes-format NAME") as caught:
        read_person_boxes(path)
    assert str(caught.value).startswith(f"{path}: ") and "slowfast-csv" in str(caught.value)


def test_fault_a_wrong_name_of_a_format_lists_the_right_ones(tmp_path):
    with pytest.raises(
        UserError, match="no format 'slowfast' of person boxes; there are slowfast-"
    ):
        read_person_boxes(tmp_path / "boxes.csv", "slowfast")


def test_fault_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_MAX_BYTES", 10)
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"images": []}))
    with pytest.raises(AnnotationError, match="14 bytes, at most 10 are read; split it"):
        read_person_boxes(path)
