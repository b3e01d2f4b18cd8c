"""Several files of predictions against one ground truth: figures, differences and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tubedet.errors import UserError

from .ava_report import JSON_UNIT, none_if_nan
from .bootstrap import (
    CONFIDENCE,
    ClassRanking,
    Interval,
    draw_resamples,
    interval_of,
    resampled_means,
)

# Percentiles of fewer resamples are noise.
LEAST_RESAMPLES = 100
SEED = 0


@dataclass(frozen=True)
class FileFigures:
    """What is known of one file of predictions.

    Attributes:
        name: What tables call it.
        source: Its path.
        mean_aps: Metric, such as "frame-mAP@0.5IOU", to its value in [0, 1].
        class_aps: Class name to frame-AP@0.5 in [0, 1]; NaN for a class without ground truth.
        rankings: Metric to the classes with ground truth at each of its thresholds.
    """

    name: str
    source: str
    mean_aps: Mapping[str, float]
    class_aps: Mapping[str, float]
    rankings: Mapping[str, Sequence[Sequence[ClassRanking]]]


@dataclass(frozen=True)
class Resampled:
    """What the bootstrap says of one metric of one file.

    Attributes:
        interval: Of the metric.
        difference: Of the metric less that of the first file, in the same resamples; None for the
            first file.
        better: Share of the resamples in which the metric is above that of the first file; None
            for the first file.
    """

    interval: Interval
    difference: Interval | None = None
    better: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Figures of one or more files.

    Attributes:
        protocol: Of all of them.
        files: The first is what the others are compared with.
        boxes_per_class: Class name to the number of its ground-truth boxes.
        num_videos: Videos with ground truth or detections.
        num_resamples: Resamples of them; 0: no intervals.
        resampled: Metric to what the bootstrap says of each file; empty without intervals.
        no_intervals: Why there are none although they were wanted, or "".
    """

    protocol: str
    files: Sequence[FileFigures]
    boxes_per_class: Mapping[str, int]
    num_videos: int
    num_resamples: int = 0
    resampled: Mapping[str, Sequence[Resampled]] = field(default_factory=dict)
    no_intervals: str = ""

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""
        return list(self.files[0].mean_aps)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that have ground truth."""
        return [name for name, count in self.boxes_per_class.items() if count > 0]

    @property
    def interval_note(self) -> str:
        """One sentence on the intervals; "" if none were wanted."""
        if self.no_intervals:
            return f"No intervals: {self.no_intervals}."
        if not self.resampled:
            return ""
        paired = ", the same for all files" if len(self.files) > 1 else ""
        return (
            f"In brackets: {100 * CONFIDENCE:g} % intervals of {self.num_resamples} bootstrap "
            f"resamples of the {self.num_videos} videos{paired}."
        )


def check_resamples(num_resamples: int) -> None:
    """Refuse a number of resamples that gives no interval.

    Args:
        num_resamples: 0: no intervals are wanted.

    Raises:
        UserError: if it is neither 0 nor at least ``LEAST_RESAMPLES``.
    """
    if num_resamples != 0 and num_resamples < LEAST_RESAMPLES:
        raise UserError(
            f"--bootstrap {num_resamples}: give at least {LEAST_RESAMPLES} resamples, such as "
            "1000, or 0 for no intervals"
        )


def compare(
    files: Sequence[FileFigures],
    boxes_per_class: Mapping[str, int],
    *,
    protocol: str,
    num_videos: int,
    num_resamples: int,
    envelope: bool = True,
) -> Comparison:
    """Put figures side by side, with intervals by a paired bootstrap over videos.

    Every resample is drawn once and all files are evaluated on it: what makes its videos hard
    moves all of them, so that a difference has a narrower interval than the figures.

    Args:
        files: Of one ground truth, with equal metrics and classes.
        boxes_per_class: Class name to the number of its ground-truth boxes.
        protocol: Of all files.
        num_videos: V, the videos that the rankings count.
        num_resamples: 0: no intervals.
        envelope: See :func:`tubedet.evaluation.detection_ap.average_precision`.

    Returns:
        Comparison: without intervals and with a reason if fewer than two videos have ground truth.
    """
    comparison = Comparison(protocol, files, boxes_per_class, num_videos)
    if num_resamples == 0:
        return comparison
    annotated = {
        video
        for thresholds in files[0].rankings.values()
        for ranking in thresholds[0]
        for video in np.unique(ranking.gt_videos).tolist()
    }
    if len(annotated) < 2:
        reason = f"{len(annotated)} video has ground truth, and a bootstrap draws videos"
        return Comparison(protocol, files, boxes_per_class, num_videos, no_intervals=reason)
    copies = draw_resamples(num_videos, num_resamples, seed=SEED)
    resampled = {
        metric: _resampled(
            [resampled_means(entry.rankings[metric], copies, envelope=envelope) for entry in files]
        )
        for metric in comparison.metrics
    }
    return Comparison(protocol, files, boxes_per_class, num_videos, num_resamples, resampled)


def comparison_to_dict(comparison: Comparison) -> dict:
    """Turn a comparison into what the json files hold.

    Args:
        comparison: Of two or more files.

    Returns:
        dict: ``{"protocol", "unit": "fraction", "files": [{"name", "predictions", "metrics":
        {metric: {"value", "interval", "difference", "difference_interval", "better"}},
        "per_class": {name: AP}}, ...], "bootstrap": {"videos", "resamples", "confidence",
        "seed"}}``.
        Differences are to the first file; what is not known is None (null).
    """
    return {
        "protocol": comparison.protocol,
        "unit": JSON_UNIT,
        "files": [
            {
                "name": entry.name,
                "predictions": entry.source,
                "metrics": _metrics_to_dict(comparison, place),
                "per_class": {name: none_if_nan(ap) for name, ap in entry.class_aps.items()},
            }
            for place, entry in enumerate(comparison.files)
        ],
        "bootstrap": bootstrap_to_dict(comparison),
    }


def bootstrap_to_dict(comparison: Comparison) -> dict | None:
    """Return how the intervals were made; None if there are none.

    Args:
        comparison: Of one or more files.
    """
    if not comparison.resampled:
        return None
    return {
        "videos": comparison.num_videos,
        "resamples": comparison.num_resamples,
        "confidence": CONFIDENCE,
        "seed": SEED,
    }


def intervals_to_dict(comparison: Comparison) -> dict[str, list[float]]:
    """Return the interval of each metric of the first file.

    Args:
        comparison: Of one or more files.
    """
    return {metric: list(entries[0].interval) for metric, entries in comparison.resampled.items()}


def _metrics_to_dict(comparison: Comparison, place: int) -> dict:
    content = {}
    for metric in comparison.metrics:
        value = comparison.files[place].mean_aps[metric]
        resampled = comparison.resampled[metric][place] if comparison.resampled else None
        entry: dict = {
            "value": value,
            "interval": list(resampled.interval) if resampled else None,
        }
        if place:
            difference = resampled.difference if resampled else None
            entry |= {
                "difference": value - comparison.files[0].mean_aps[metric],
                "difference_interval": list(difference) if difference else None,
                "better": resampled.better if resampled else None,
            }
        content[metric] = entry
    return content


def _resampled(means: Sequence[np.ndarray]) -> list[Resampled]:
    """Summarise (R,) means of each file."""
    first, *others = means
    summaries = [Resampled(interval_of(first))]
    for of_file in others:
        differences = of_file - first
        defined = differences[~np.isnan(differences)]
        summaries.append(
            Resampled(interval_of(of_file), interval_of(differences), float(np.mean(defined > 0)))
        )
    return summaries
