"""Annotations and predictions as large as those of AVA's validation set, drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tubedet.data.annotations.ava_csv import read_label_map

# As in AVA v2.1: key frames per video, and how many rows each person has on average.
_SECONDS = range(902, 1799)
_PERSONS_PER_KEY_FRAME = 1.6
_ACTIONS_PER_PERSON = 1.6
_PREDICTED_ACTIONS = 14
_ROWS_PER_CHUNK = 100_000


def write_annotations(
    folder: Path, label_map: Path, *, num_predictions: int, seed: int
) -> tuple[Path, Path]:
    """Write a ground truth and predictions that find its persons, with noise.

    Args:
        folder: Where to write; must exist.
        label_map: pbtxt of the actions that are drawn.
        num_predictions: Rows of the predictions. There are 14 per person, so one in nine rows of
            both files together is ground truth.
        seed: Of everything drawn.

    Returns:
        tuple[Path, Path]: csv of the ground truth, csv of the predictions.
    """
    rng = np.random.default_rng(seed)
    num_persons = -(-num_predictions // _PREDICTED_ACTIONS)
    num_key_frames = max(1, round(num_persons / _PERSONS_PER_KEY_FRAME))
    key_frames = np.sort(rng.integers(num_key_frames, size=num_persons))
    corners = rng.uniform(0, 0.6, (num_persons, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(0.1, 0.4, (num_persons, 2))), axis=1)
    action_ids = np.array(list(read_label_map(label_map)))
    # Each person's actions in random order; the ground truth has the first one or two of them.
    orders = rng.random((num_persons, len(action_ids))).argsort(axis=1)
    num_actions = 1 + (rng.random(num_persons) < _ACTIONS_PER_PERSON - 1)

    person = np.repeat(np.arange(num_persons), num_actions)
    rank = np.concatenate([np.arange(count) for count in num_actions])
    groundtruth = folder / "groundtruth.csv"
    _write_rows(
        groundtruth, key_frames[person], boxes[person], action_ids[orders[person, rank]], None
    )

    person = np.repeat(np.arange(num_persons), _PREDICTED_ACTIONS)[:num_predictions]
    rank = np.tile(np.arange(_PREDICTED_ACTIONS), num_persons)[:num_predictions]
    noise = rng.uniform(-0.045, 0.045, (num_predictions, 4))  # sides are at least 0.1
    found = np.clip(boxes[person] + noise, 0, 1)
    # True actions tend to have higher scores, so that precision falls as it does for a detector.
    scores = rng.random(num_predictions) ** np.where(rank < num_actions[person], 0.5, 2)
    predictions = folder / "predictions.csv"
    _write_rows(predictions, key_frames[person], found, action_ids[orders[person, rank]], scores)
    return groundtruth, predictions


def _write_rows(
    path: Path,
    key_frames: np.ndarray,
    boxes: np.ndarray,
    action_ids: np.ndarray,
    scores: np.ndarray | None,
) -> None:
    """AVA rows; key frame number k is second k mod 897 of video k // 897."""
    with open(path, "w", encoding="utf-8") as stream:
        for start in range(0, len(key_frames), _ROWS_PER_CHUNK):
            part = slice(start, start + _ROWS_PER_CHUNK)
            video, second = np.divmod(key_frames[part], len(_SECONDS))
            last = [""] * len(video) if scores is None else [f",{s:.6f}" for s in scores[part]]
            stream.writelines(
                f"video_{v:06d},{_SECONDS.start + s:04d},"
                f"{x1:.3f},{y1:.3f},{x2:.3f},{y2:.3f},{action_id}{end}\n"
                for v, s, (x1, y1, x2, y2), action_id, end in zip(
                    video.tolist(),
                    second.tolist(),
                    boxes[part].tolist(),
                    action_ids[part].tolist(),
                    last,
                )
            )
