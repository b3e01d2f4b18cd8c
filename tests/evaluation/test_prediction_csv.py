import io

import numpy as np
import pytest

from tubedet.evaluation.prediction_csv import format_timestamp, write_prediction_rows


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
