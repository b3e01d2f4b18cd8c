"""The rows of a csv in the format of AVA (numpy only)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AVATable:
    """Rows of one AVA csv as columns, in file order.

    Attributes:
        source: Path of the file, for messages.
        videos: The distinct video ids, in order of their first appearance.
        video_index: (N,) int32, position in ``videos``.
        timestamps: (N,) float64, seconds. Whole numbers, or rounded to 6 decimals if the file was
            read as AVA-Kinetics, so that equal key frames have equal floats.
        boxes: (N, 4) float64, x1, y1, x2, y2 as fractions of the frame, neither clipped nor
            ordered.
        action_ids: (N,) int64, as in the file (AVA: 1 to 80).
        last_column: (N,) float64, the optional 8th column (a score in predictions, a person id in
            ground truth); NaN for rows without it.
        lines: (N,) int32, 1-based line number of the row.
        empty_key_frames: (video id, seconds) of the two-column rows: annotated, holding nobody.
        empty_lines: 1-based line numbers of the two-column rows.
    """

    source: str
    videos: tuple[str, ...]
    video_index: np.ndarray
    timestamps: np.ndarray
    boxes: np.ndarray
    action_ids: np.ndarray
    last_column: np.ndarray
    lines: np.ndarray
    empty_key_frames: tuple[tuple[str, float], ...] = ()
    empty_lines: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.video_index)

    @property
    def video_ids(self) -> np.ndarray:
        """(N,) array of str."""
        return np.array(self.videos, dtype=str)[self.video_index]

    @property
    def scores(self) -> np.ndarray:
        """(N,) float64, the 8th column; 1.0 where it is missing, as in the official reader."""
        return np.where(np.isnan(self.last_column), 1.0, self.last_column)

    @property
    def person_ids(self) -> np.ndarray:
        """(N,) int64, the 8th column; -1 where it is missing."""
        return np.where(np.isnan(self.last_column), -1, self.last_column).astype(np.int64)

    def select(self, rows: np.ndarray) -> AVATable:
        """Return the table of some rows; the videos and the empty key frames stay as they are.

        Args:
            rows: (K,) their numbers, or (N,) bool.
        """
        columns = ("video_index", "timestamps", "boxes", "action_ids", "last_column", "lines")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def with_video_ids(self, rename: Callable[[str], str]) -> AVATable:
        """Return the table with other video ids; videos that get the same id become one.

        Args:
            rename: from the id in the file to the new one.
        """
        names = [rename(video_id) for video_id in self.videos]
        places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        new_index = np.array([places[name] for name in names], dtype=self.video_index.dtype)
        return dataclasses.replace(
            self,
            videos=tuple(places),
            video_index=new_index[self.video_index],
            empty_key_frames=tuple((rename(video), time) for video, time in self.empty_key_frames),
        )
