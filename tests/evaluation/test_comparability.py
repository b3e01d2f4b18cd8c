"""Predictions that cannot belong to the ground truth stop the evaluation."""

import math

import pytest

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.ava_protocol import evaluate_ava
from tubedet.evaluation.comparability import EvaluationError, check_defined

LABEL_MAP = {1: "one", 2: "two", 3: "three"}
GROUNDTRUTH = [
    "a,0902,0.1,0.1,0.5,0.9,1\n",
    "a,0903,0.1,0.1,0.5,0.9,2\n",
    "b,0902,0.1,0.1,0.5,0.9,7\n",
]
BOX = "0.1,0.1,0.5,0.9"
FIRST_ROW = r"predictions have none that is evaluated, the first row is 0902 of video 'a'; the gr"


def evaluate(rows, groundtruth=GROUNDTRUTH, exclusions=(), protocol="official"):
    kinetics = protocol == "official_2020"
    return evaluate_ava(
        parse_ava_csv(groundtruth, source="gt.csv", ava_kinetics=kinetics),
        parse_ava_csv(rows, source="pred.csv", ava_kinetics=kinetics),
        LABEL_MAP,
        exclusions,
        protocol,
    )


def test_no_key_frame_in_common():
    rows = [f"a,0904,{BOX},1,0.5\n", f"c,0902,{BOX},1,0.5\n"]
    message = (
        r"pred\.csv and gt\.csv have no evaluated key frame in common\. The predictions have 2, "
        r"such as 0904 of video 'a'; the ground truth has 3, such as 0902 of video 'a'"
    )
    with pytest.raises(EvaluationError, match=message):
        evaluate(rows)
    with pytest.raises(EvaluationError, match="no evaluated key frame in common"):
        evaluate(rows, [*GROUNDTRUTH, "d,0902\n"], protocol="official_2020")
    assert evaluate([*rows, f"a,0902,{BOX},1,0.5\n"]).per_class["one"] == 1


def test_only_excluded_key_frames_in_common():
    rows = [f"a,0902,{BOX},1,0.5\n", f"c,0902,{BOX},1,0.5\n"]
    with pytest.raises(EvaluationError, match="predictions have 1, such as 0902 of video 'c'"):
        evaluate(rows, exclusions={("a", 902.0)})
    with pytest.raises(EvaluationError, match=FIRST_ROW):
        evaluate(rows[:1], exclusions={("a", 902.0)})
    rows.append(f"a,0903,{BOX},2,0.5\n")
    assert evaluate(rows, exclusions={("a", 902.0)}).mean_ap == 1


def test_an_empty_key_frame_is_in_common():
    groundtruth = [*GROUNDTRUTH, "d,0902\n"]
    result = evaluate([f"d,0902,{BOX},1,0.5\n"], groundtruth, protocol="official_2020")
    assert result.mean_ap == 0


def test_no_class_in_common():
    # 7 is in the ground truth and 3 in the label map, neither is in both.
    rows = [f"a,0902,{BOX},{action},0.5\n" for action in (0, 3, 7, *range(20, 40))]
    message = (
        r"action ids 0, 3, 7, 20, 21, 22, 23, 24 and 15 more; the ground truth has 1, 2\. "
        "Action ids count from 1"
    )
    with pytest.raises(EvaluationError, match=message):
        evaluate(rows)
    assert evaluate([*rows, f"a,0902,{BOX},1,0.5\n"]).per_class["one"] == 1


def test_pixels_against_fractions():
    pixels = [f"a,0902,32,48,160,432,{action},0.5\n" for action in (1, 2)]
    message = (
        r"boxes of pred\.csv look like pixels and those of gt\.csv like fractions .* beyond 432 "
        r"and 0\.9\. Divide x"
    )
    with pytest.raises(EvaluationError, match=message):
        evaluate(pixels)
    in_pixels = [line.replace(BOX, "32,48,160,432") for line in GROUNDTRUTH]
    with pytest.raises(EvaluationError, match=r"boxes of gt\.csv look like pixels"):
        evaluate([f"a,0902,{BOX},1,0.5\n"], in_pixels)
    assert evaluate(pixels, in_pixels).per_class["one"] == 1
    few = [*pixels[:1], f"a,0902,{BOX},1,0.9\n", f"a,0903,{BOX},1,0.1\n"]
    assert evaluate(few).per_class["one"] == 1
    # Not clipped, but fractions.
    assert evaluate(["a,0902,0.1,0.1,0.5,1.3,1,0.5\n"]).per_class["one"] == 1


def test_nothing_predicted_is_a_warning(caplog):
    assert evaluate([]).mean_ap == 0
    assert "pred.csv: there are no predictions, so every AP is 0" in caplog.text


@pytest.mark.parametrize(
    ("groundtruth", "there"),
    [
        ([], "no box"),
        ([f"a,0902,{BOX},9\n", f"a,0902,{BOX},7\n"], "boxes of the action ids 7, 9 only"),
        (GROUNDTRUTH[:1], "boxes of evaluated classes on excluded key frames only"),
    ],
)
def test_nothing_to_find_is_nan_as_in_the_official_script(groundtruth, there):
    rows = [f"a,0903,{BOX},1,0.5\n"] if there == "no box" else []
    result = evaluate(rows, groundtruth, exclusions={("a", 902.0)})
    assert math.isnan(result.mean_ap) and result.num_groundtruth == 0
    table = parse_ava_csv(groundtruth, source="gt.csv")
    with pytest.raises(EvaluationError) as caught:
        check_defined(result.mean_ap, table, list(LABEL_MAP))
    assert str(caught.value) == (
        f"gt.csv: the ground truth has {there}; without a box of one of the evaluated action ids, "
        "1, 2, 3, no AP is defined. Are these the right file and the right label map?"
    )
    check_defined(0.0, table, list(LABEL_MAP))
