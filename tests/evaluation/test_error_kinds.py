"""Kinds of errors and the AP that each costs, by hand."""

import math

import numpy as np
import pytest

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.ava_protocol import match_ava
from tubedet.evaluation.error_kinds import (
    CORRECT,
    DETECTION_KINDS,
    DUPLICATE,
    INEXACT_BOX,
    MISSED,
    NEITHER,
    NOBODY,
    WRONG_ACTION,
    average_precision_gains,
    find_errors,
)


def _matches(truth, found):
    tables = [parse_ava_csv(text.split(), source="file") for text in (truth, found)]
    return match_ava(*tables, {1: "sit", 2: "run"})


# sit: one found, one nearly, one found late, one missed; run: one taken for sit, one missed.
TRUTH = """
film,903,0,0,0.5,0.5,1
film,904,0,0,0.4,0.4,1
film,906,0,0,1,1,1
film,907,0,0,1,1,1
film,903,0.5,0.5,1,1,2
film,905,0,0,1,1,2
"""
FOUND = """
film,903,0.5,0.5,1,1,1,0.95
film,903,0,0,0.5,0.5,1,0.9
film,903,0,0,0.5,0.49,1,0.8
film,904,0,0,0.4,0.15,1,0.7
film,903,0.9,0,1,0.1,1,0.5
film,905,0,0,0.5,0.5,1,0.4
film,906,0,0,1,1,1,0.3
"""


def test_each_kind_and_what_its_correction_gains():
    matches = _matches(TRUTH, FOUND)
    errors = find_errors(matches)
    by_score = np.argsort(-matches.scores)
    assert [DETECTION_KINDS[kind] for kind in errors.kinds[by_score]] == [
        WRONG_ACTION,
        CORRECT,
        DUPLICATE,
        INEXACT_BOX,
        NOBODY,
        NEITHER,
        CORRECT,
    ]
    missed = matches.groundtruth.timestamps[matches.gt_rows[errors.missed]]
    assert sorted(missed.tolist()) == [905, 907]

    before = (1 / 2 + 2 / 7) / 4 / 2
    expected = {
        # The detection becomes the first one of "run".
        WRONG_ACTION: ((1 + 2 / 6) / 4 + 1 / 2) / 2,
        INEXACT_BOX: (1 / 2 + 2 / 4 + 3 / 7) / 4 / 2,
        NEITHER: (1 / 2 + 2 / 6) / 4 / 2,
        DUPLICATE: (1 / 2 + 2 / 6) / 4 / 2,
        NOBODY: (1 / 2 + 2 / 6) / 4 / 2,
        # Three boxes of "sit" are left.
        MISSED: (1 / 2 + 2 / 7) / 3 / 2,
    }
    gains = average_precision_gains(matches, errors)
    assert list(gains) == list(expected)
    for kind, after in expected.items():
        assert gains[kind] == pytest.approx(after - before, abs=1e-12), kind


def test_persons_with_two_actions():
    # Of one person both actions are annotated; "run" is found by nobody.
    truth = "film,903,0,0,1,1,1 film,903,0,0,1,1,2"
    found = "film,903,0,0,1,1,1,0.9 film,903,0,0,1,0.9,1,0.8"
    errors = find_errors(_matches(truth, found))
    # TIDE itself would call the second one a wrong action, as the person runs too.
    assert [DETECTION_KINDS[kind] for kind in errors.kinds] == [CORRECT, DUPLICATE]
    assert errors.missed.sum() == 1

    # Two nearly fitting boxes of one person: the more confident one becomes right, one goes.
    found = "film,903,0,0,1,0.3,1,0.9 film,903,0,0,1,0.4,1,0.8"
    matches = _matches("film,903,0,0,1,1,1", found)
    errors = find_errors(matches)
    assert errors.targets.tolist() == [0, 0] and not errors.missed.any()
    assert average_precision_gains(matches, errors)[INEXACT_BOX] == 1.0


def test_without_detections_or_ground_truth():
    matches = _matches("film,903,0,0,1,1,1", "")
    gains = average_precision_gains(matches, find_errors(matches))
    assert gains == {kind: float(kind == MISSED) for kind in gains}
    matches = _matches("film,903,0,0,1,1,7", "film,903,0,0,1,1,7,0.5")
    assert all(map(math.isnan, average_precision_gains(matches, find_errors(matches)).values()))
