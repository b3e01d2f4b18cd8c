"""Rows that cannot be read are answered by what to write."""

import pytest

from tubedet.data.annotations.row_hints import describe_column_count, describe_header, is_blank
from tubedet.data.annotations.text import csv_rows


def cells(line):
    ((_, row),) = csv_rows([line], "rows.csv")
    return row


@pytest.mark.parametrize(
    "line, advice",
    [
        ("# rows of gym", "this looks like a comment: remove the line"),
        ("gym;1;0.1;0.2;0.5;0.9;1", "separated by semicolons: separate them by commas"),
        ("gym;1;0,1;0,2;0,5;0,9;1", "by commas, and write decimals with a point"),
        ("gym\t1\t0.1\t0.2\t0.5\t0.9\t1", "separated by tabs"),
        ("gym|1|0.1|0.2|0.5|0.9|1", "separated by bars"),
        ("gym 1 0.1 0.2 0.5 0.9 1", "separated by spaces"),
        ("gym,1,0,1,0,2,0,5,0,9,1,0", "write 0.5 instead of 0,5"),
        ("gym,1,0,1,0,2,0,5,0,9,1", "write 0.5 instead of 0,5"),
        ("gym,1,0.1,0.2,0.5,0.9", "is the action id missing?"),
        ("gym,1,0.1,0.2,0.5,0.9,1,0,", "remove the comma at the end of the line"),
        ("gym,1", "set the protocol official_2020 (TEST.AVA_PROTOCOL in a config)"),
    ],
)
def test_a_wrong_number_of_columns(line, advice):
    row = cells(line)
    message = describe_column_count(row)
    assert message.startswith(f"{len(row)} columns, expected 7 or 8 (video_id,timestamp,")
    assert message.split("; ", 1)[1].endswith(advice) or advice in message


def test_nothing_is_advised_where_nothing_is_known():
    assert describe_column_count(["gym", "1", "2"]).endswith("person_id])")
    assert describe_column_count([]).startswith("empty line, expected 7 or 8 columns (video_id")


def test_headers_name_columns():
    assert "remove it" in describe_header(cells("video,time,xmin,ymin,xmax,ymax,label,track"))
    for line in ("gym,1,0.1,0.2,0.5,0.9,1,0", "gym,time,x1,y1,x2,0.9,1", "a,b", "a,b,,d,e,f,g"):
        assert describe_header(cells(line)) is None


def test_blank_lines():
    assert is_blank([]) and is_blank(["  "]) and is_blank(["", "", " "])
    assert not is_blank(["", "0"])
