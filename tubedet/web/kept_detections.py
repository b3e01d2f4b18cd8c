"""Detections that were made, kept so that a video is drawn again without the model."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tubedet.data import VideoError
from tubedet.data.video.sources import FrameSource
from tubedet.inference import DetectedFrame, VideoActionDetector

_NO_IMAGE = np.empty((0, 0, 3), np.uint8)


class KeptDetections:
    """The detections of the latest videos, in memory, each for some time.

    Args:
        detector: the model.
        keep_seconds: age at which detections are forgotten.
        max_videos: of how many videos they are kept.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        detector: VideoActionDetector,
        *,
        keep_seconds: float,
        max_videos: int = 20,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.detector = detector
        self._keep_seconds = keep_seconds
        self._max_videos = max_videos
        self._clock = clock
        self._kept: dict[Any, tuple[float, list[DetectedFrame]]] = {}

    def holds(self, key: Any) -> bool:
        """Whether a whole video is known.

        Args:
            key: see :meth:`detector_of`.
        """
        self._forget()
        return key in self._kept

    def detector_of(self, key: Any) -> KeptDetector:
        """Return what detects in one video, by the model if nothing is known of it.

        Args:
            key: what the detections depend on, such as the path and the rate of key frames.
        """
        self._forget()
        _, frames = self._kept.get(key, (0.0, None))
        return KeptDetector(self.detector, frames, lambda made: self._keep(key, made))

    def _keep(self, key: Any, frames: list[DetectedFrame]) -> None:
        self._kept[key] = (self._clock(), frames)
        self._forget()

    def _forget(self) -> None:
        oldest = self._clock() - self._keep_seconds
        young = [(key, kept) for key, kept in self._kept.items() if kept[0] > oldest]
        self._kept = dict(young[-self._max_videos :])


class KeptDetector:
    """Stands for the detector while the files of one video are written.

    Args:
        detector: the model.
        frames: what it found in every frame, without the images; None: it has to look.
        keep: takes what it found, when it has seen the whole video.
    """

    def __init__(
        self,
        detector: VideoActionDetector,
        frames: list[DetectedFrame] | None,
        keep: Callable[[list[DetectedFrame]], object],
    ):
        self.model, self.explained = detector.model, detector.explained
        self._detector, self._frames, self._keep = detector, frames, keep

    def frames(self, source: FrameSource, **options: Any) -> Iterator[DetectedFrame]:
        """Yield all frames with their results.

        Args:
            source: the video, the same each time.
            **options: of :meth:`tubedet.inference.VideoActionDetector.frames`.

        Raises:
            VideoError: if the source is not the same any more.
        """
        if self._frames is None:
            made = []
            for frame in self._detector.frames(source, **options):
                made.append(dataclasses.replace(frame, image=_NO_IMAGE))
                yield frame
            self._keep(made)
            return
        stored_frames = source.stored_frames(0.0)
        for kept in self._frames:
            moment, stored = next(stored_frames, (None, None))
            if moment != kept.time:
                raise VideoError(f"{source.name}: the frame at {kept.time:.3f} s is missing")
            yield dataclasses.replace(kept, image=source.rgb(stored))
