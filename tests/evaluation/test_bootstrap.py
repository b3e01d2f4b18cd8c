"""Intervals over videos: a case made by hand, and resamples made as files."""

import numpy as np
import pytest

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.ava_protocol import match_ava
from tubedet.evaluation.bootstrap import (
    ClassRanking,
    draw_resamples,
    interval_of,
    resampled_average_precisions,
    resampled_means,
)
from tubedet.evaluation.detection_ap import average_precision, precision_recall
from tubedet.evaluation.video_rankings import frame_rankings, videos_with_content

# By score: a true one of video 0, a false one of video 1, a true one of video 1; one missed in 0.
BY_HAND = ClassRanking(np.array([0, 1, 1]), np.array([True, False, True]), np.array([0, 0, 1]))


@pytest.mark.parametrize(
    ("copies", "envelope", "expected"),
    [
        # T F T of 3: precision 1 at 1/3, 2/3 at 2/3.
        ((1, 1), True, (1 + 2 / 3) / 3),
        # T T of 4: precision 1 up to recall 2/4.
        ((2, 0), True, 2 / 4),
        # F F T T of 2: the last point, 2/4, is the best.
        ((0, 2), True, 2 / 4),
        # T F F T T of 4: 1 at 1/4, then 3/5.
        ((1, 2), True, (1 + 2 * 3 / 5) / 4),
        ((1, 1), False, (1 + (2 / 3 + 1 / 2) / 2) / 3),
        ((0, 2), False, ((0 + 1 / 3) / 2 + (1 / 3 + 2 / 4) / 2) / 2),
    ],
)
def test_copies_of_videos_by_hand(copies, envelope, expected):
    (ap,) = resampled_average_precisions(BY_HAND, np.array([copies]), envelope=envelope)
    assert ap == pytest.approx(expected, abs=1e-12)


def test_intervals_by_hand():
    # Of two videos 1/4 of the resamples are two copies of the first, 1/2 are both, 1/4 two of the
    # second, whose one box is found.
    ranking = ClassRanking(np.array([1]), np.array([True]), np.array([0, 1]))
    copies = draw_resamples(2, 4000, seed=3)
    assert copies.sum(axis=1).tolist() == [2] * 4000
    assert np.array_equal(copies, draw_resamples(2, 4000, seed=3))
    aps = resampled_means([[ranking]], copies)
    values, counts = np.unique(aps, return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert interval_of(aps) == (0.0, 1.0)
    assert interval_of(np.array([*range(1, 1001), np.nan])) == pytest.approx((25.975, 975.025))


def test_a_class_is_left_out_where_no_video_with_it_is_drawn():
    rankings = [
        ClassRanking(np.array([0]), np.array([True]), np.array([0])),
        ClassRanking(np.array([], dtype=int), np.array([], dtype=bool), np.array([1])),
    ]
    copies = np.array([[1, 1, 0], [2, 0, 1], [0, 3, 0], [0, 0, 3]])
    means = resampled_means([rankings], copies)
    assert means[:3].tolist() == [0.5, 1.0, 0.0] and np.isnan(means[3])


def _random_tables(rng):
    """Ground truth and detections of three classes in six videos."""
    truth, found = [], []
    for video in range(6):
        for second in range(2):
            for person in range(3):
                x = person / 3
                for action in np.flatnonzero(rng.random(3) < 0.5) + 1:
                    truth.append(f"v{video},{second},{x},0,{x + 0.3},1,{action}")
                for action in range(1, 4):
                    shift = rng.choice([0, 0.04, 0.2])
                    found.append(
                        f"v{video},{second},{x + shift},0,{x + shift + 0.3},1,{action},"
                        f"{rng.random():.6f}"
                    )
    return truth, found


def _copied(rows, copies):
    return [row.replace(",", f"_{copy},", 1) for row in rows for copy in range(copies[int(row[1])])]


def _match(truth, found):
    tables = [parse_ava_csv(rows, source="file") for rows in (truth, found)]
    return match_ava(*tables, {1: "sit", 2: "run", 3: "swim"})


def test_resamples_equal_evaluations_of_copied_files():
    truth, found = _random_tables(np.random.default_rng(0))
    matches = _match(truth, found)
    videos = {video: int(video[1]) for video in videos_with_content(matches)}
    rankings = frame_rankings(matches, videos)
    identity = np.ones((1, 6), dtype=int)
    aps = [resampled_average_precisions(ranking, identity)[0] for ranking in rankings]
    assert aps == pytest.approx(matches.average_precisions(), abs=1e-12)
    copies = draw_resamples(6, 4, seed=1)
    for lines in (False, True):
        found_aps = [
            resampled_average_precisions(ranking, copies, envelope=not lines)
            for ranking in rankings
        ]
        for place, counts in enumerate(copies):
            plain = _match(_copied(truth, counts), _copied(found, counts))
            # Copies have equal scores: a stable order, so that copies of a detection stay together.
            for index, gt_count in enumerate(plain.gt_counts.tolist()):
                own = np.flatnonzero(plain.classes == index)
                own = own[np.lexsort((-plain.scores[own],))]
                curve = precision_recall(
                    plain.scores[own], plain.true_positive[own], gt_count, stable=True
                )
                assert found_aps[index][place] == pytest.approx(
                    average_precision(*curve, envelope=not lines), abs=1e-12
                )
