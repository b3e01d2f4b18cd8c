"""Persons of a key frame as rows, as a table of pandas, and as detections of supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from detectron2.structures import Instances

from tubedet.errors import UserError

from .action_intervals import ActionInterval

if TYPE_CHECKING:
    import pandas
    import supervision

COLUMNS = (
    "video",
    "time",
    "person_id",
    "x1",
    "y1",
    "x2",
    "y2",
    "person_score",
    "action",
    "action_id",
    "score",
)


class PersonAction(NamedTuple):
    """An action of a person: row of the person, column of the action, score."""

    row: int
    action: int
    score: float


def person_actions(
    persons: Instances, min_score: float, max_actions: int | None = None
) -> list[PersonAction]:
    """List the actions of all persons, of each person the surest first.

    Args:
        persons: with ``action_scores`` (N, A) on the CPU.
        min_score: actions with a lower score are left out.
        max_actions: of a person; None: all.
    """
    found = []
    for row, scores in enumerate(persons.action_scores.numpy()):
        order = np.argsort(-scores, kind="stable")[:max_actions]
        found += [
            PersonAction(row, int(a), float(scores[a])) for a in order if scores[a] >= min_score
        ]
    return found


def person_action_rows(
    video: str, time: float, persons: Instances, action_names: Sequence[str], min_score: float
) -> list[dict]:
    """Return a dictionary for each action of each person; its keys are ``COLUMNS``.

    Args:
        video: its name.
        time: of the key frame, seconds.
        persons: on the CPU, float32.
        action_names: A names.
        min_score: actions with a lower score are left out.
    """
    ids = person_ids(persons)
    boxes, scores = persons.pred_boxes.tensor.tolist(), persons.scores.tolist()
    return [
        dict(
            zip(
                COLUMNS,
                (video, time, ids[row], *boxes[row], scores[row], action_names[a], a + 1, s),
                strict=True,
            )
        )
        for row, a, s in person_actions(persons, min_score)
    ]


def person_ids(persons: Instances) -> list[int]:
    """Return the number of each person, -1 where persons were not followed.

    Args:
        persons: perhaps with ``person_ids`` (N,).
    """
    return persons.person_ids.tolist() if persons.has("person_ids") else [-1] * len(persons)


def rows_as_dataframe(rows: Sequence[dict]) -> pandas.DataFrame:
    """Return rows of :func:`person_action_rows` as a table; it has its columns without rows, too.

    Args:
        rows: in order.

    Raises:
        UserError: if pandas is not installed.
    """
    return _dataframe(rows, COLUMNS, "to_dataframe")


def intervals_as_dataframe(intervals: Sequence[ActionInterval]) -> pandas.DataFrame:
    """Return intervals as a table; it has its columns without rows, too.

    Args:
        intervals: in order.

    Raises:
        UserError: if pandas is not installed.
    """
    return _dataframe(intervals, ActionInterval._fields, "intervals_to_dataframe")


def detections_for_supervision(
    time: float,
    persons: Instances,
    action_names: Sequence[str],
    *,
    score_threshold: float,
    max_actions: int,
) -> supervision.Detections:
    """Return the surest actions of persons as detections.

    Args:
        time: of the key frame, seconds.
        persons: on the CPU, float32.
        action_names: A names.
        score_threshold: lowest score of an action.
        max_actions: of a person.

    Raises:
        UserError: if supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise _missing_package("to_supervision", "supervision", error) from error
    found = person_actions(persons, score_threshold, max_actions)
    rows = np.array([x.row for x in found], dtype=np.int64)
    ids = np.array(person_ids(persons), dtype=np.int64)
    return supervision.Detections(
        xyxy=persons.pred_boxes.tensor.numpy()[rows].reshape(-1, 4),
        confidence=np.array([x.score for x in found], dtype=np.float32),
        class_id=np.array([x.action for x in found], dtype=np.int64),
        tracker_id=ids[rows] if persons.has("person_ids") else None,
        data={
            "class_name": np.array([action_names[x.action] for x in found], dtype=np.str_),
            "person_score": persons.scores.numpy()[rows],
            "time": np.full(len(found), time),
        },
    )


def _dataframe(rows: Sequence, columns: Sequence[str], method: str) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise _missing_package(method, "pandas", error) from error
    return pandas.DataFrame(rows, columns=list(columns))


def _missing_package(method: str, name: str, error: ImportError) -> UserError:
    return UserError(
        f"{method}() needs the package {name}: pip install 'tubedet[results]' ({error})"
    )
