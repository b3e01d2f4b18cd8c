"""Kinds of errors, slices and examples of a few boxes, counted by hand."""

import math

import pytest

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.ava_protocol import match_ava
from tubedet.evaluation.error_analysis import analyse_errors
from tubedet.evaluation.error_kinds import (
    CORRECT,
    DUPLICATE,
    INEXACT_BOX,
    NEITHER,
    NOBODY,
    WRONG_ACTION,
)

GROUNDTRUTH = """\
film,902,0,0,0.1,0.1,1
film,903,0,0,0.5,0.5,1
film,903,0,0,0.5,0.5,2
film,903,0.5,0.5,1,1,1
film,904,0,0,1,1,2
"""
DETECTIONS = """\
film,902,0,0,0.1,0.1,1,0.9
film,902,0.6,0.6,0.9,0.9,1,0.5
film,903,0,0,0.5,0.5,1,0.8
film,903,0,0,0.5,0.49,1,0.7
film,903,0.5,0.5,0.8,0.8,1,0.6
film,903,0.5,0.5,1,1,2,0.95
"""


def matches(groundtruth=GROUNDTRUTH, detections=DETECTIONS):
    tables = [
        parse_ava_csv(text.splitlines(), source=name)
        for name, text in (("truth", groundtruth), ("found", detections))
    ]
    return match_ava(*tables, {1: "sit", 2: "run", 3: "swim"})


def test_classes_and_curves():
    analysis = analyse_errors(matches())
    sit, run = analysis.classes
    assert (sit.name, sit.num_groundtruth, sit.num_detections) == ("sit", 3, 5)
    assert sit.average_precision == pytest.approx(2 / 3)
    assert sit.best_recall == pytest.approx(2 / 3)
    assert (run.name, run.average_precision, run.num_groundtruth) == ("run", 0.0, 2)
    assert list(analysis.curves) == ["sit", "run"]
    precision, recall = analysis.curves["sit"]
    assert precision.tolist() == pytest.approx([1, 1, 2 / 3, 2 / 4, 2 / 5])
    assert recall.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_slices_by_size_take_detections_along_with_the_person_they_find():
    slices = {s.label: s for s in analyse_errors(matches()).by_size}
    assert list(slices)[0] == "0-2 %" and list(slices)[-1] == "over 40 %"
    figures = {
        label: (s.mean_ap, s.num_classes, s.num_groundtruth)
        for label, s in slices.items()
        if s.num_groundtruth
    }
    # 20-40 %: of "sit" one of two persons is found first; the one "run" is not.
    expected = {"0-2 %": (1.0, 1, 1), "20-40 %": (0.25, 2, 3), "over 40 %": (0.0, 1, 1)}
    assert figures == {label: pytest.approx(value) for label, value in expected.items()}
    assert math.isnan(slices["5-10 %"].mean_ap)


def test_slices_by_people_count_persons_not_rows():
    slices = analyse_errors(matches()).by_people
    assert [s.label for s in slices] == ["1", "2", "3", "4", "5", "6 or more"]
    assert [s.num_groundtruth for s in slices] == [2, 3, 0, 0, 0, 0]
    assert slices[0].mean_ap == pytest.approx(0.5)
    assert slices[1].mean_ap == pytest.approx(0.25)


def test_kinds_are_those_of_the_leading_detections():
    kinds = analyse_errors(matches()).error_kinds
    assert {kind for kind, number in kinds.items() if number == 0} == {INEXACT_BOX, NEITHER, NOBODY}
    assert (kinds[CORRECT], kinds[DUPLICATE], kinds[WRONG_ACTION]) == (2, 1, 1)


def test_false_positives_by_confidence():
    found = analyse_errors(matches()).false_positives
    assert [(e.class_name, e.score, e.remark) for e in found] == [
        ("run", 0.95, WRONG_ACTION),
        ("sit", 0.7, DUPLICATE),
        ("sit", 0.6, INEXACT_BOX),
        ("sit", 0.5, NOBODY),
    ]
    assert (found[0].video_id, found[0].timestamp) == ("film", 903.0)
    assert found[0].box == (0.5, 0.5, 1.0, 1.0)
    limited = analyse_errors(matches(), examples_per_class=2).false_positives
    assert [e.score for e in limited] == [0.95, 0.7, 0.6]
    assert len(analyse_errors(matches(), num_examples=1).false_positives) == 1


def test_missed_persons_before_missed_actions():
    missed = analyse_errors(matches()).missed
    assert (missed[0].class_name, missed[0].timestamp) == ("run", 904.0)
    assert missed[0].remark == "the person was not found"
    rest = {(e.class_name, e.box[0], e.remark) for e in missed[1:]}
    # A detection of another action is enough to find a person.
    assert rest == {
        ("run", 0.0, "the person was found, this action was not"),
        ("sit", 0.5, "the person was found, this action was not"),
    }


def test_found_too_late_is_missed():
    late = DETECTIONS + "film,903,0.4,0.4,0.6,0.6,2,0.9\nfilm,904,0,0,1,1,2,0.125\n"
    missed = {
        (e.timestamp, e.class_name): e for e in analyse_errors(matches(detections=late)).missed
    }
    assert missed[904.0, "run"].remark == "found with score 0.125 only"
    assert missed[904.0, "run"].score == 0.125
    assert missed[903.0, "run"].score == 0.0


def test_nothing_found_and_nothing_to_find():
    nothing_found = analyse_errors(matches(detections=""))
    assert len(nothing_found.missed) == 5 and nothing_found.false_positives == []
    assert [entry.average_precision for entry in nothing_found.classes] == [0.0, 0.0]
    nothing_to_find = analyse_errors(matches(groundtruth="film,902,0,0,1,1,7\n"))
    assert nothing_to_find.classes == [] and nothing_to_find.missed == []
    assert {e.remark for e in nothing_to_find.false_positives} == {NOBODY}
    assert all(math.isnan(s.mean_ap) for s in nothing_to_find.by_size + nothing_to_find.by_people)
