"""Figures side by side, with paired intervals."""

import numpy as np
import pytest

from tubedet.errors import UserError
from tubedet.evaluation.bootstrap import ClassRanking
from tubedet.evaluation.comparison import (
    FileFigures,
    check_resamples,
    compare,
    comparison_to_dict,
)
from tubedet.evaluation.comparison_table import (
    comparison_table,
    signed_percent,
    write_comparison_table,
)

METRIC = "frame-mAP@0.5IOU"
NAMES = ("sit_down & up", "run", "never seen")


def _figures(name, found_in):
    """Of ten videos with one box each; those of ``found_in`` are found, nothing else is."""
    videos = np.array(found_in, dtype=int)
    ranking = ClassRanking(videos, np.ones(len(videos), dtype=bool), np.arange(10))
    ap = len(videos) / 10
    return FileFigures(
        name=name,
        source=f"{name}.csv",
        mean_aps={METRIC: ap},
        class_aps=dict(zip(NAMES, (ap, ap, float("nan")))),
        rankings={METRIC: [[ranking, ranking]]},
    )


def _compare(*files, resamples=2000):
    return compare(
        files,
        dict(zip(NAMES, (10, 10, 0))),
        protocol="official",
        num_videos=10,
        num_resamples=resamples,
    )


def test_differences_are_paired():
    first, same, more = (
        _figures("A", range(5)),
        _figures("B", range(5)),
        _figures("C", range(6)),
    )
    comparison = _compare(first, same, more)
    # Of ten draws with probability 1/2 at least 2 and at most 8 are found, in 97.9 %.
    assert comparison.resampled[METRIC][0].interval == pytest.approx((0.2, 0.8))
    of_same, of_more = comparison.resampled[METRIC][1:]
    assert of_same.interval == comparison.resampled[METRIC][0].interval
    # Equal files differ in no resample; the box more is drawn 0 to 3 times of 10, in 98.7 %.
    assert of_same.difference == (0, 0) and of_same.better == 0
    assert of_more.difference == pytest.approx((0, 0.3))
    assert of_more.better == pytest.approx(1 - 0.9**10, abs=0.03)
    stored = comparison_to_dict(comparison)
    assert stored["bootstrap"] == {
        "videos": 10,
        "resamples": 2000,
        "confidence": 0.95,
        "seed": 0,
    }
    metric = stored["files"][2]["metrics"][METRIC]
    assert metric["difference"] == pytest.approx(0.1)
    assert metric["difference_interval"] == pytest.approx([0, 0.3])
    assert stored["files"][0]["metrics"][METRIC] == {
        "value": 0.5,
        "interval": pytest.approx([0.2, 0.8]),
    }
    assert stored["files"][1]["per_class"]["never seen"] is None


def test_one_table_in_three_formats(tmp_path):
    comparison = _compare(_figures("A", range(5)), _figures("B_2", range(4)))
    lines = comparison_table(comparison).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "A", "B_2", "B_2 - A", "boxes"]
    assert cells[2][:2] == [METRIC, "50.00 [20.00, 80.00]"]
    assert cells[2][3:] == ["-10.00 [-30.00, 0.00]", "20"]
    assert cells[3] == ["sit_down & up", "50.00", "40.00", "-10.00", "10"]
    assert len(lines) == 5
    for ending in ("md", "tex"):
        write_comparison_table(comparison, tmp_path / f"table.{ending}")
    note = (
        "In percent, protocol official; the rows of classes are frame-AP@0.5, differences are to "
        "the first file."
    )
    markdown = comparison_table(comparison)
    told = (tmp_path / "table.md").read_text()
    assert told == f"{markdown}\n\n{note} {comparison.interval_note}\n"
    latex = (tmp_path / "table.tex").read_text()
    assert r"\begin{tabular}{lrrrr}" in latex and r"B\_2 $-$ A" in latex
    comments = [line for line in latex.splitlines() if line.startswith("%")]
    assert comments == [
        f"% {note}",
        f"% {comparison.interval_note}",
        r"% Needs \usepackage{booktabs}.",
    ]
    row = next(line for line in latex.splitlines() if line.strip().startswith("sit"))
    assert [cell.strip() for cell in row.split(" & ")] == [
        r"sit\_down \& up",
        "50.00",
        "40.00",
        "$-$10.00",
        r"10 \\",
    ]
    assert [signed_percent(x) for x in (0.0, -0.00001, 0.12345)] == ["0.00", "0.00", "+12.35"]


def test_no_interval_where_none_can_be_had():
    alone = ClassRanking(np.array([0, 1]), np.array([True, False]), np.array([0, 0]))
    figures = FileFigures("A", "A.csv", {METRIC: 0.5}, {"run": 0.5}, {METRIC: [[alone]]})
    comparison = compare(
        [figures, figures], {"run": 2}, protocol="official", num_videos=2, num_resamples=100
    )
    assert comparison.resampled == {}
    assert comparison.interval_note.startswith("No intervals: 1 video has ground truth")
    assert comparison_to_dict(comparison)["bootstrap"] is None
    assert "[" not in comparison_table(comparison)
    assert _compare(_figures("A", [1]), resamples=0).interval_note == ""
    check_resamples(0)
    with pytest.raises(UserError, match="--bootstrap 99: give at least 100 resamples"):
        check_resamples(99)
