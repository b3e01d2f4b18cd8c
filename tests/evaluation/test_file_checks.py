"""Files that users give, and that can hardly be meant as they are."""

import gzip
import os
import pickle
import threading

import pytest

from tubedet.data.annotations.ava_csv import AnnotationError, parse_ava_csv, read_ava_csv
from tubedet.evaluation.file_checks import (
    check_action_ids,
    check_is_csv,
    check_persons,
    read_predictions,
    warn_of_odd_rows,
)

ROW = "a,0902,0.1,0.1,0.5,0.9"


def _table(*rows, source="found.csv"):
    return parse_ava_csv([f"{row}\n" for row in rows], source=source)


def _warnings(caplog, table, largest=None):
    caplog.clear()
    warn_of_odd_rows(table, largest)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("action_id", [0, -1])
def test_ids_count_from_1(action_id):
    check_action_ids(_table(f"{ROW},1,0.5"))
    with pytest.raises(AnnotationError, match=f"found.csv:2: action_id {action_id} in column 7: i"):
        check_action_ids(_table(f"{ROW},1,0.5", f"{ROW},{action_id},0.5"))


def test_a_ground_truth_with_scores_is_swapped():
    check_persons(_table(f"{ROW},1,12", f"{ROW},1", f"{ROW},1,-1"))
    with pytest.raises(AnnotationError, match=r"truth.csv:2: 0.25 in column 8 .* swapped\?"):
        check_persons(_table(f"{ROW},1,1", f"{ROW},1,0.25", source="truth.csv"))


def test_boxes_without_area_are_counted(caplog):
    rows = [f"a,0902,{box},1,0.5" for box in ("0.5,0.5,0.3,0.9", "0.5,0.5,0.6,0.5", "0,0,1,1")]
    (told,) = _warnings(caplog, _table(*rows))
    assert told.startswith("found.csv: 2 of 3 rows have x2 <= x1 or y2 <= y1 and find nobody")
    assert "not x, y, width, height" in told


def test_ids_above_all_classes_are_counted(caplog):
    table = _table(f"{ROW},3,0.5", f"{ROW},4,0.5", f"{ROW},9,0.5")
    (told,) = _warnings(caplog, table, 3)
    assert "2 of 3 rows are not counted" in told and "action_id 4 in row 2" in told
    assert _warnings(caplog, table, 9) == _warnings(caplog, table) == []


@pytest.mark.parametrize(
    "last, message",
    [
        ([",7", ",8", ",9", ",9"], "column 8 of found.csv has whole numbers only"),
        (["", "", ""], "found.csv has no scores (7 columns)"),
        ([",7", ",8", ",9", ",9", ",0.5"], None),
        ([",0", ",1", ",1", ",1"], None),
        (["", ",0.5"], None),
    ],
)
def test_persons_in_place_of_scores(caplog, last, message):
    told = _warnings(caplog, _table(*(f"{ROW},1{cell}" for cell in last)))
    assert [text[: len(message)] for text in told] == [message] if message else told == []


def test_nothing_is_said_of_an_empty_file(caplog):
    assert _warnings(caplog, _table(), 3) == []


def test_results_that_are_no_csv(tmp_path):
    path = tmp_path / "found"
    for content, kind in (
        (pickle.dumps([1.5]), "a pickle or another binary file"),
        (gzip.compress(pickle.dumps([1.5])), "a pickle or another binary file"),
        (b"PK\x03\x04\x00", "a pickle or another binary file"),
        (b' [{"image_id": 1}]', "json"),
    ):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match=f"found is {kind}; a prediction file is a csv"):
            check_is_csv(path)
    for text in (ROW, "", "\N{BYTE ORDER MARK}" + ROW):
        path.write_text(text, encoding="utf-8")
        check_is_csv(path)
    path.write_text(ROW, encoding="utf-16")
    check_is_csv(path)


def test_a_file_that_can_be_read_is_not_judged_by_its_first_letter(tmp_path):
    path = tmp_path / "found.csv"
    path.write_text(f"[{ROW},1,0.5\n")
    assert len(read_predictions(path, read_ava_csv)) == 1
    path.write_text('{"image_id": 1}')
    with pytest.raises(AnnotationError, match="found.csv is json; a prediction file is a csv"):
        read_predictions(path, read_ava_csv)


def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(f"{ROW},1,0.5\n",))
    writer.start()
    assert len(read_predictions(pipe, read_ava_csv)) == 1
    writer.join()
