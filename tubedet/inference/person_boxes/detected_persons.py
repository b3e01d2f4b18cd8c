"""Person boxes from a detector of tubedet, which looks at clips."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tubedet.data.video.sources import FrameSource
from tubedet.errors import UserError

from .sources import FindPersons, PersonBoxSource, PersonsAt

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult, VideoActionDetector

_TIMES_EQUAL = 1e-6  # seconds


class DetectedPersons(PersonBoxSource):
    """The persons that another detector finds at the same key frames.

    It reads the video a second time, at the same pace, in clips of its own length and size.

    Args:
        detector: of persons or of actions.
    """

    def __init__(self, detector: VideoActionDetector):
        self._detector = detector

    @contextlib.contextmanager
    def opened(
        self, source: FrameSource, *, every: float, start: float, end: float | None
    ) -> Iterator[FindPersons]:
        """See :class:`PersonBoxSource`."""
        if not source.is_repeatable:
            raise UserError(
                f"{source.name}: a person detector of tubedet reads the video a second time, which "
                "this one does not allow; give a file, or another kind of --person-detector"
            )
        with (
            source.reopened() as again,
            contextlib.closing(
                self._detector(again, every=every, start=start, end=end)  # type: ignore[type-var]
            ) as results,
        ):
            newest: KeyFrameResult | None = None

            def find(time: float, _: np.ndarray | None) -> PersonsAt:
                nonlocal newest
                while newest is None or newest.time < time - _TIMES_EQUAL:
                    if (newest := next(results, None)) is None:
                        break
                if newest is None or newest.time > time + every / 2:
                    return PersonsAt(np.empty((0, 4)), np.empty(0))
                height, width = newest.instances.image_size
                boxes = newest.instances.pred_boxes.tensor.double().numpy()
                scores = newest.instances.scores.double().numpy()
                finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
                boxes = boxes[finite] / (width, height, width, height)
                return PersonsAt(boxes, scores[finite])

            yield find
