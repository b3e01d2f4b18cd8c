"""Rows that can be read, but not be right."""

import numpy as np

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.data.annotations.row_faults import beyond_whole_seconds, box_faults, repeated_rows


def faults(boxes, **options):
    rows = [f"a,1,{box},1\n" for box in boxes]
    table = parse_ava_csv(rows, source="rows.csv")
    return list(box_faults(table, advice="say so", **options))


def test_boxes_as_fractions():
    boxes = ["0,0,1,1", "0.5,0.5,0.2,0.9", "0,0,1.5,1", "-3,0,1,1", "0,0,10,100"]
    found = faults(boxes, pixels=False)
    assert [(fault.kind, fault.line) for fault in found] == [
        ("empty-box", 2),
        ("pixel-boxes", 4),
        ("pixel-boxes", 5),
        ("out-of-range", 3),
    ]
    # What is within 100 may be pixels of a small video or per cent.
    assert found[2].message.endswith(
        "0, 0, 10, 100; say so; if these are per cent, divide them by 100"
    )
    assert "per cent" not in faults(["0,0,10,101"], pixels=False)[0].message


def test_boxes_in_pixels():
    found = faults(["5,5,20,20", "0,0,1,1", "-1,0,9,9"], pixels=True)
    assert [(fault.kind, fault.line) for fault in found] == [
        ("fraction-boxes", 2),
        ("out-of-range", 3),
    ]
    (fault,) = faults(["0,0,1,1"] * 3, pixels=True)
    assert "say 'boxes: fractions'" in fault.message and fault.line == 1


def test_repeated_rows_come_in_pairs():
    assert repeated_rows(np.array([[1, 2], [3, 4], [1, 2], [1, 2]])) == [(0, 2), (2, 3)]
    assert repeated_rows(np.empty((0, 2))) == []


def test_the_first_row_beyond_whole_seconds():
    def first(*rows):
        return beyond_whole_seconds(parse_ava_csv(rows, source="rows.csv", ava_kinetics=True))

    whole, half = "a,902.0,0,0,1,1,1\n", "a,902.5,0,0,1,1,1\n"
    assert first(whole) is None and first() is None
    assert first(whole, half, "a,3\n").line == 2
    assert first(whole, "a,3\n", half).message.startswith("a row of two columns: the protocol")
