"""Confusion matrices of a few persons, counted by hand."""

import pytest

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.ava_protocol import match_ava
from tubedet.evaluation.confusion import Confusion, confusion_matrix
from tubedet.evaluation.error_kinds import leading_detections

SINGLE = """
film,903,0,0,0.5,0.5,1
film,903,0.5,0.5,1,1,1
film,904,0,0,1,1,2
film,905,0,0,1,1,3
"""
FOUND = """
film,903,0,0,0.5,0.5,1,0.9
film,903,0,0,0.5,0.5,2,0.8
film,903,0.5,0.5,1,1,1,0.3
film,903,0.5,0.5,1,1,3,0.4
film,904,0,0,1,0.9,2,0.7
film,905,0,0,0.4,0.4,3,0.9
"""


def _matrix(truth, **options):
    tables = [parse_ava_csv(text.split(), source="file") for text in (truth, FOUND)]
    matches = match_ava(*tables, {1: "sit", 2: "run", 3: "swim"})
    return confusion_matrix(matches, leading_detections(matches), **options)


def test_exclusive_form_takes_the_best_action_of_each_person():
    matrix = _matrix(SINGLE)
    assert matrix.exclusive
    assert matrix.counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert matrix.unseen.tolist() == [0, 0, 1]
    assert matrix.num_persons.tolist() == [2, 1, 1]
    assert matrix.shares[0].tolist() == [0.5, 0, 0.5]
    assert matrix.most_frequent(5) == [Confusion("sit", "swim", 1, 2)]


def test_multi_label_form_counts_leading_detections():
    # The first person runs too, so that "run" counts against the other one who sits only.
    matrix = _matrix(SINGLE + "film,903,0,0,0.5,0.5,2\n")
    assert not matrix.exclusive
    # Leading are both of "sit" and both of "run"; of "swim" the first one, which fits nobody.
    assert matrix.counts.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 0]]
    assert matrix.totals.tolist() == [[2, 1, 2], [1, 2, 2], [1, 1, 1]]
    matrix = _matrix(SINGLE + "film,906,0,0,1,1,3\nfilm,903,0.5,0.5,1,1,2\n")
    # Two of "swim" lead now, one on the second person; "run" leads on the first, who only sits.
    assert matrix.counts.tolist() == [[2, 1, 1], [0, 1, 1], [0, 0, 0]]
    assert matrix.totals.tolist() == [[2, 1, 2], [1, 2, 2], [2, 2, 2]]
    assert matrix.unseen.tolist() == [0, 0, 2]
    with pytest.raises(ValueError, match="two actions"):
        _matrix(SINGLE + "film,903,0,0,0.5,0.5,2\n", exclusive=True)
