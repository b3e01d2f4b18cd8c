"""Which actions are taken for which others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .detection_ap import best_groundtruth
from .error_kinds import IOU_THRESHOLD
from .frame_matches import FrameMatches


@dataclass(frozen=True)
class Confusion:
    """One action that is taken for another.

    Attributes:
        actual: What the persons do.
        predicted: What was predicted of them.
        count: Persons of whom it was.
        total: Persons of whom it could have been.
    """

    actual: str
    predicted: str
    count: int
    total: int


@dataclass(frozen=True)
class ConfusionMatrix:
    """Actual classes in rows, predicted ones in columns; C classes.

    Attributes:
        class_names: C names.
        exclusive: Each person does one action, and the matrix counts the most confident action
            of each person; otherwise it counts all leading detections.
        counts: (C, C) int.
        totals: (C, C) int, the persons out of which ``counts`` are.
        unseen: (C,) int, persons of each class of whom nothing was predicted.
        num_persons: (C,) int, persons of each class.
    """

    class_names: tuple[str, ...]
    exclusive: bool
    counts: np.ndarray
    totals: np.ndarray
    unseen: np.ndarray
    num_persons: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """(C, C) float64 in [0, 1]; NaN where there is nobody."""
        undefined = np.full(self.counts.shape, np.nan)
        return np.divide(self.counts, self.totals, out=undefined, where=self.totals > 0)

    def most_frequent(self, limit: int) -> list[Confusion]:
        """Return the confusions that concern most persons.

        Args:
            limit: At most so many.
        """
        wrong = self.counts * ~np.eye(len(self.counts), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        pairs = zip(*(places.tolist() for places in np.unravel_index(order, wrong.shape)))
        return [
            Confusion(
                self.class_names[actual],
                self.class_names[predicted],
                int(wrong[actual, predicted]),
                int(self.totals[actual, predicted]),
            )
            for actual, predicted in pairs
            if wrong[actual, predicted] > 0
        ]


def confusion_matrix(
    matches: FrameMatches, leading: np.ndarray, *, exclusive: bool | None = None
) -> ConfusionMatrix:
    """Count which actions are predicted of the persons of each class.

    A detection is about the person that it overlaps most, and by half. The exclusive form takes
    of each person the action with the highest score. The multi-label form takes all leading
    detections, and counts an action against those persons only who do not do it.

    Args:
        matches: Of one file of predictions.
        leading: The best detections of each class, of
            :func:`~tubedet.evaluation.error_kinds.leading_detections`.
        exclusive: Which form; None: the exclusive one if no person does two actions.

    Returns:
        ConfusionMatrix: of all classes.

    Raises:
        ValueError: the exclusive form is asked for, and a person does two actions.
    """
    persons, person_of_gt = np.unique(
        np.column_stack([matches.gt_keys, matches.gt_boxes]), axis=0, return_inverse=True
    )
    person_of_gt = person_of_gt.reshape(-1)
    num_classes = len(matches.class_names)
    actual = np.zeros((len(persons), num_classes), dtype=bool)
    actual[person_of_gt, matches.gt_classes] = True
    one_action = bool((actual.sum(axis=1) <= 1).all())
    if exclusive and not one_action:
        raise ValueError("a person does two actions, so the exclusive form is not defined")
    exclusive = one_action if exclusive is None else exclusive

    columns = np.arange(len(matches.rows)) if exclusive else leading
    best, iou = best_groundtruth(
        matches.boxes[columns],
        matches.keys[columns],
        persons[:, 1:],
        persons[:, 0].astype(np.int64),
    )
    about = iou >= IOU_THRESHOLD
    columns, of_person = columns[about], best[about]
    if exclusive:
        order = np.lexsort((-matches.scores[columns], of_person))
        of_person, first = np.unique(of_person[order], return_index=True)
        columns = columns[order][first]
    predicted = np.zeros_like(actual)
    predicted[of_person, matches.classes[columns]] = True

    # float32 counts persons exactly up to 16 million, and is multiplied by BLAS.
    rows = actual.T.astype(np.float32)
    num_persons = actual.sum(axis=0)
    counts = rows @ predicted.astype(np.float32)
    totals = np.repeat(num_persons[:, None], num_classes, axis=1)
    if not exclusive:
        right = np.diag(counts).copy()
        counts = rows @ (predicted & ~actual).astype(np.float32)
        totals = (rows @ (~actual).astype(np.float32)).astype(np.int64)
        np.fill_diagonal(counts, right)
        np.fill_diagonal(totals, num_persons)
    return ConfusionMatrix(
        class_names=matches.class_names,
        exclusive=exclusive,
        counts=counts.astype(np.int64),
        totals=totals.astype(np.int64),
        unseen=actual[~predicted.any(axis=1)].sum(axis=0),
        num_persons=num_persons,
    )
