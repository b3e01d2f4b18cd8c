import io

import numpy as np
import pytest

from tubedet.data.annotations.ava_csv import AnnotationError
from tubedet.evaluation.prediction_csv import (
    format_timestamp,
    read_tube_predictions,
    write_prediction_rows,
)


@pytest.mark.parametrize(
    "seconds, stamp",
    [(902, "0902"), (0.0, "0000"), (1798.0, "1798"), (2.5, "2.5"), (1 / 3, "0.333333")],
)
def test_timestamps(seconds, stamp):
    assert format_timestamp(seconds) == stamp


def test_a_row_for_every_positive_score():
    boxes = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1.0, 1.25]])
    scores = np.array([[0.5, 0.0, 0.125], [0.0, 1e-9, 0.0]], dtype=np.float32)
    stream = io.StringIO()
    write_prediction_rows(stream, "abc", 902.0, boxes, scores, [3, 12, 80])
    assert stream.getvalue().splitlines() == [
        "abc,0902,0.100000000,0.200000000,0.300000000,0.400000000,3,0.5",
        "abc,0902,0.100000000,0.200000000,0.300000000,0.400000000,80,0.125",
        "abc,0902,0.500000000,0.500000000,1.000000000,1.250000000,12,9.99999972e-10",
    ]


def test_float32_scores_survive_the_file():
    scores = np.random.default_rng(0).random((1, 500), dtype=np.float32)
    stream = io.StringIO()
    write_prediction_rows(stream, "v", 1, np.zeros((1, 4)), scores, range(1, 501))
    read = [np.float32(row.split(",")[-1]) for row in stream.getvalue().splitlines()]
    assert np.array_equal(read, scores[0])


def test_rows_of_action_tubes(tmp_path):
    path = tmp_path / "tubes.csv"
    with open(path, "w") as stream:
        write_prediction_rows(stream, "run/a", 12, np.full((1, 4), 0.5), np.array([[0.25]]), [21])
    table = read_tube_predictions(path)
    assert table.videos == ("run/a",)
    row = (table.timestamps, table.action_ids, table.scores)
    assert [column.tolist() for column in row] == [[12.0], [21], [0.25]]


@pytest.mark.parametrize(
    "row, message",
    [
        ("a,2,0,0,1,1,3", "no score, expected it in column 8"),
        ("a,0,0,0,1,1,3,0.5", "frame number below 1 in column 2"),
        ("a,2.5,0,0,1,1,3,0.5", "'2.5' in column 2"),
    ],
)
def test_unusable_rows_of_action_tubes_are_named(tmp_path, row, message):
    path = tmp_path / "tubes.csv"
    path.write_text(f"a,1,0,0,1,1,3,0.5\n{row}\n")
    with pytest.raises(AnnotationError, match=f"{path}:2: .*{message}"):
        read_tube_predictions(path)
