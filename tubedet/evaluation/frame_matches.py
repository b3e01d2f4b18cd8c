"""Detections of key frames, each labelled as a true or a false positive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tubedet.data.annotations.ava_csv import AVATable

from .detection_ap import average_precision, precision_recall, rank_by_score


@dataclass(frozen=True)
class FrameMatches:
    """What the rules of a protocol make of the rows of a ground truth and a prediction file.

    M ground-truth boxes and N detections count; C classes are evaluated.

    Attributes:
        groundtruth: The whole ground truth.
        predictions: All predictions.
        class_names: C names.
        gt_rows: (M,) int, rows of ``groundtruth`` that count.
        gt_keys: (M,) int, which key frame each of them belongs to.
        gt_classes: (M,) int in [0, C).
        rows: (N,) int, rows of ``predictions`` that count; those of a key frame and class are in
            the order of their ranks.
        keys: (N,) int, which key frame each of them belongs to, in the numbers of ``gt_keys``.
        classes: (N,) int in [0, C).
        true_positive: (N,) bool.
        num_key_frames: Key frames that were evaluated, those without a person included where the
            protocol knows of them.
    """

    groundtruth: AVATable
    predictions: AVATable
    class_names: tuple[str, ...]
    gt_rows: np.ndarray
    gt_keys: np.ndarray
    gt_classes: np.ndarray
    rows: np.ndarray
    keys: np.ndarray
    classes: np.ndarray
    true_positive: np.ndarray
    num_key_frames: int

    @property
    def scores(self) -> np.ndarray:
        """(N,) float64."""
        return self.predictions.scores[self.rows]

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float64, XYXY as fractions of the frame."""
        return self.predictions.boxes[self.rows]

    @property
    def gt_boxes(self) -> np.ndarray:
        """(M, 4) float64, XYXY as fractions of the frame."""
        return self.groundtruth.boxes[self.gt_rows]

    @property
    def gt_counts(self) -> np.ndarray:
        """(C,) int, ground-truth boxes of each class."""
        return np.bincount(self.gt_classes, minlength=len(self.class_names))

    def curves(
        self, kept: np.ndarray | None = None, gt_kept: np.ndarray | None = None
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Precision and recall of each class after each detection, best score first.

        Args:
            kept: (N,) bool, detections to count; None: all.
            gt_kept: (M,) bool, ground truth to count; None: all.

        Returns:
            dict: class index to (precision, recall), float64 arrays of equal length. Classes
            without counted ground truth have no curve.
        """
        columns = np.arange(len(self.rows)) if kept is None else np.flatnonzero(kept)
        gt_classes = self.gt_classes if gt_kept is None else self.gt_classes[gt_kept]
        gt_counts = np.bincount(gt_classes, minlength=len(self.class_names))
        members, scores = self._by_class(columns), self.scores
        return {
            index: precision_recall(
                scores[members[index]], self.true_positive[members[index]], gt_counts[index]
            )
            for index in np.flatnonzero(gt_counts).tolist()
        }

    def ranked(self) -> dict[int, np.ndarray]:
        """Return the detections of each class that has ground truth, best score first.

        Returns:
            dict: class index to (n,) int places among the N detections, in the very order of
            :meth:`curves`, equal scores included.
        """
        scores = self.scores
        members = self._by_class(np.arange(len(self.rows)))
        return {
            index: members[index][rank_by_score(scores[members[index]])]
            for index in np.flatnonzero(self.gt_counts).tolist()
        }

    def average_precisions(
        self, kept: np.ndarray | None = None, gt_kept: np.ndarray | None = None
    ) -> np.ndarray:
        """Average precision of each class.

        Args:
            kept: (N,) bool, detections to count; None: all.
            gt_kept: (M,) bool, ground truth to count; None: all.

        Returns:
            np.ndarray: (C,) float64 in [0, 1], NaN for a class without counted ground truth.
        """
        aps = np.full(len(self.class_names), np.nan)
        for index, curve in self.curves(kept, gt_kept).items():
            aps[index] = average_precision(*curve)
        return aps

    def _by_class(self, columns: np.ndarray) -> list[np.ndarray]:
        """Split some of the detections by class; each class keeps their order."""
        classes = self.classes[columns]
        ends = np.cumsum(np.bincount(classes, minlength=len(self.class_names)))
        return np.split(columns[np.argsort(classes, kind="stable")], ends[:-1])


def mean_over_classes(aps: np.ndarray) -> float:
    """Return the mean over the classes that have ground truth.

    Args:
        aps: (C,) float, NaN for a class without ground truth.

    Returns:
        float: NaN if there is no class with ground truth.
    """
    defined = aps[~np.isnan(aps)]
    return float(np.mean(defined)) if len(defined) else float("nan")
