"""Intervals of mAP by the bootstrap over videos (Efron & Tibshirani, 1993).

Boxes of one video resemble each other, so whole videos are drawn, with replacement, as many as
there are. What is a true positive does not depend on other videos: it is found once, and a resample
is a number of copies of each video. V videos, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

CONFIDENCE = 0.95
# So many cells of a step stay in a processor's cache.
_CELLS_PER_STEP = 1 << 16


@dataclass(frozen=True)
class ClassRanking:
    """The detections of one class, best score first, and where its ground truth is.

    Attributes:
        videos: (N,) int in [0, V), the video of each detection.
        true_positive: (N,) bool.
        gt_videos: (M,) int in [0, V), the video of each ground-truth box or tube; M is at least 1.
    """

    videos: np.ndarray
    true_positive: np.ndarray
    gt_videos: np.ndarray


class Interval(NamedTuple):
    """Ends of an interval."""

    low: float
    high: float


def draw_resamples(num_videos: int, num_resamples: int, *, seed: int) -> np.ndarray:
    """Draw V of V videos with replacement, R times.

    Args:
        num_videos: V.
        num_resamples: R.
        seed: Equal seeds draw equal resamples.

    Returns:
        np.ndarray: (R, V) int64, copies of each video.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_videos, np.full(num_videos, 1 / num_videos), num_resamples)


def resampled_average_precisions(
    ranking: ClassRanking, copies: np.ndarray, *, envelope: bool = True
) -> np.ndarray:
    """AP of one class in each resample.

    Args:
        ranking: Of the class.
        copies: (R, V) int, copies of each video; all ones is the data set as it is.
        envelope: See :func:`tubedet.evaluation.detection_ap.average_precision`.

    Returns:
        np.ndarray: (R,) float64 in [0, 1]; NaN where no video with ground truth was drawn. Copies
        of a detection have equal scores and are ranked one after the other.
    """
    num_videos = copies.shape[1]
    places = np.flatnonzero(ranking.true_positive)
    num_groundtruth = copies @ np.bincount(ranking.gt_videos, minlength=num_videos)
    with np.errstate(invalid="ignore"):
        undefined = np.where(num_groundtruth > 0, 0.0, np.nan)
    if len(places) == 0:
        return undefined
    # Curves change at true positives only: row k holds the false positives of each video between
    # the true positives k - 1 and k, which few videos have.
    false = np.flatnonzero(~ranking.true_positive[: places[-1]])
    between = csr_matrix(
        (np.ones(len(false)), (np.searchsorted(places, false), ranking.videos[false])),
        shape=(len(places), num_videos),
    )
    aps = []
    step = max(1, _CELLS_PER_STEP // len(places))
    for start in range(0, len(copies), step):
        drawn = copies[start : start + step].T.astype(np.float64)  # (V, r)
        hits = drawn[ranking.videos[places]]  # (K, r) copies of each true positive
        misses_before = np.cumsum(between @ drawn, axis=0)
        area = _area_of_envelope if envelope else _area_of_lines
        aps.append(area(hits, misses_before))
    return np.divide(np.concatenate(aps), num_groundtruth, out=undefined, where=num_groundtruth > 0)


def resampled_means(
    rankings: Sequence[Sequence[ClassRanking]], copies: np.ndarray, *, envelope: bool = True
) -> np.ndarray:
    """Mean AP in each resample, over the classes that have ground truth in it.

    Args:
        rankings: Of each threshold, those of the classes; the AP of a class is its mean over the
            thresholds.
        copies: (R, V) int, copies of each video.
        envelope: See :func:`tubedet.evaluation.detection_ap.average_precision`.

    Returns:
        np.ndarray: (R,) float64; NaN where no class has ground truth.
    """
    totals, counts = np.zeros(len(copies)), np.zeros(len(copies))
    for of_class in zip(*rankings, strict=True):
        aps = np.mean(
            [resampled_average_precisions(r, copies, envelope=envelope) for r in of_class], axis=0
        )
        defined = ~np.isnan(aps)
        totals[defined] += aps[defined]
        counts += defined
    return np.divide(totals, counts, out=np.full(len(copies), np.nan), where=counts > 0)


def interval_of(figures: np.ndarray) -> Interval:
    """Return the percentile interval of what the resamples gave, at ``CONFIDENCE``.

    Args:
        figures: (R,) float; NaN, of resamples without any ground truth, do not count.

    Returns:
        Interval: its ends; NaN if no resample counts.
    """
    defined = figures[~np.isnan(figures)]
    if len(defined) == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Interval(low, high)


def _area_of_envelope(hits: np.ndarray, misses_before: np.ndarray) -> np.ndarray:
    """(r,) area under the envelope times the number of ground-truth boxes.

    Args:
        hits: (K, r) copies of each true positive.
        misses_before: (K, r) false positives, copies counted, that rank before it.
    """
    found = np.cumsum(hits, axis=0)
    ranked = found + misses_before
    precision = np.divide(found, ranked, out=np.zeros_like(found), where=ranked > 0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    return (hits * best).sum(axis=0)


def _area_of_lines(hits: np.ndarray, misses_before: np.ndarray) -> np.ndarray:
    """(r,) area under the lines between the points times the number of ground-truth boxes.

    Args:
        hits: (K, r) copies of each true positive.
        misses_before: (K, r) false positives, copies counted, that rank before it.
    """
    found_before = np.cumsum(hits, axis=0) - hits
    area = np.zeros(hits.shape[1])
    for copy in range(int(hits.max(initial=0))):
        found = found_before + copy
        ranked = found + misses_before
        before = np.divide(found, ranked, out=np.ones_like(found), where=ranked > 0)
        area += ((hits > copy) * ((found + 1) / (ranked + 1) + before) / 2).sum(axis=0)
    return area
