"""One person of a video at all key frames where the person was seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tubedet.inference.key_frame_results import KeyFrameResult


@dataclass(frozen=True, eq=False, repr=False)
class PersonTrack:
    """A person of a video, in the order of time.

    Attributes:
        person_id: number of the person.
        times: (n,) of the key frames, seconds since the first frame.
        boxes: (n, 4) XYXY in pixels.
        scores: (n,) person probabilities.
        action_scores: (n, A).
        action_names: A names.
    """

    person_id: int
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    action_scores: np.ndarray
    action_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return (
            f"PersonTrack(person_id={self.person_id}, {len(self)} key frames, "
            f"{self.start:.3f} to {self.end:.3f} s)"
        )

    @property
    def start(self) -> float:
        """Time of the first key frame with the person, seconds."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """Time of the last key frame with the person, seconds."""
        return float(self.times[-1])

    def actions(self, min_score: float = 0.05) -> dict[str, float]:
        """Return the highest score of each action at any key frame, the surest action first.

        Args:
            min_score: actions whose highest score is lower are left out.
        """
        highest = self.action_scores.max(axis=0)
        order = np.argsort(-highest, kind="stable")
        return {self.action_names[a]: float(highest[a]) for a in order if highest[a] >= min_score}


def tracks_of(key_frames: Iterable[KeyFrameResult]) -> list[PersonTrack]:
    """Collect the persons of key frames, in the order of their numbers.

    Args:
        key_frames: of one video in order; their ``instances`` are those of
            :meth:`~tubedet.inference.tracking.PersonTracker.update`.
    """
    parts: dict[int, list[tuple]] = {}
    names: tuple[str, ...] = ()
    for result in key_frames:
        persons = result.instances
        names = names or result.action_names
        boxes, scores = persons.pred_boxes.tensor.numpy(), persons.scores.numpy()
        action_scores = persons.action_scores.numpy()
        for row, person_id in enumerate(persons.person_ids.tolist()):
            part = (result.time, boxes[row], scores[row], action_scores[row])
            parts.setdefault(person_id, []).append(part)
    tracks = []
    for person_id in sorted(parts):
        times, boxes, scores, action_scores = map(np.stack, zip(*parts[person_id]))
        tracks.append(PersonTrack(person_id, times, boxes, scores, action_scores, names))
    return tracks
