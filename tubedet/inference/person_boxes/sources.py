"""What a source of person boxes is, and the simplest one: a function of a picture."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from tubedet.data.video.sources import FrameSource
from tubedet.errors import UserError
from tubedet.inference.key_frame_clips import KeyFrameClips


class PersonsAt(NamedTuple):
    """The persons at one time.

    Attributes:
        boxes: (n, 4) float, XYXY as fractions of the frame.
        scores: (n,) float, probability of a person.
        track_ids: (n,) int, the same for a person throughout the video; None if not known.
    """

    boxes: np.ndarray
    scores: np.ndarray
    track_ids: np.ndarray | None = None

    def instances(self, height: int, width: int) -> Instances:
        """Return them as a model takes them: the ``proposals`` of a clip.

        Args:
            height: of the clip, pixels.
            width: likewise.
        """
        boxes = np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)
        pixels = boxes * (width, height, width, height)
        proposals = Instances(
            (height, width),
            proposal_boxes=Boxes(torch.from_numpy(pixels.astype(np.float32))),
            scores=torch.from_numpy(np.asarray(self.scores, dtype=np.float32)),
        )
        if self.track_ids is not None:
            proposals.person_ids = torch.from_numpy(np.asarray(self.track_ids, dtype=np.int64))
        return proposals


# From the time of a key frame, seconds since the first frame, and its picture, uint8 RGB (H, W, 3)
# where the source needs pictures. Times ascend.
FindPersons = Callable[[float, "np.ndarray | None"], PersonsAt]


class PersonBoxSource(ABC):
    """Tells who is where at the key frames of a video.

    Attributes:
        needs_images: whether it looks at the pictures of the key frames.
    """

    needs_images: bool = False

    @abstractmethod
    def opened(
        self, source: FrameSource, *, every: float, start: float, end: float | None
    ) -> AbstractContextManager[FindPersons]:
        """Begin a pass over a video.

        Args:
            source: the video; it is read by others.
            every: seconds between key frames.
            start: seconds since the first frame.
            end: likewise; None: to the end.

        Returns:
            What finds the persons of a key frame, until the context ends.

        Raises:
            UserError: if it has no boxes of this video.
        """


def opened_boxes(
    boxes: PersonBoxSource | None, source: FrameSource, clips: KeyFrameClips
) -> AbstractContextManager[FindPersons | None]:
    """Begin a pass over a video, for a model that may need no boxes.

    Args:
        boxes: where they come from; None: the model needs none.
        source: the video.
        clips: those of the pass.
    """
    if boxes is None:
        return contextlib.nullcontext()
    end = None if math.isinf(clips.end) else clips.end
    return boxes.opened(source, every=clips.every, start=clips.start, end=end)


class ImageDetector(PersonBoxSource):
    """Finds persons in single pictures by a function.

    Args:
        detect: takes a picture, uint8 RGB (H, W, 3); returns an array (n, 4) or (n, 5) of x1, y1,
            x2, y2 in pixels of it and, perhaps, a score. Without scores they are 1.
    """

    needs_images = True

    def __init__(self, detect: Callable[[np.ndarray], Any]):
        self._detect = detect

    @contextlib.contextmanager
    def opened(
        self, source: FrameSource, *, every: float, start: float, end: float | None
    ) -> Iterator[FindPersons]:
        """See :class:`PersonBoxSource`."""
        yield self._find

    def _find(self, _time: float, image: np.ndarray | None) -> PersonsAt:
        assert image is not None  # it was asked for
        rows = np.asarray(self._detect(image), dtype=np.float64)
        if rows.size == 0:
            rows = np.empty((0, 5))
        if rows.ndim != 2 or rows.shape[1] not in (4, 5) or not np.isfinite(rows).all():
            raise UserError(
                f"the function of person boxes returned an array {rows.shape}; return finite "
                "(n, 4) or (n, 5): x1, y1, x2, y2 in pixels and a score"
            )
        height, width = image.shape[:2]
        scores = rows[:, 4] if rows.shape[1] == 5 else np.ones(len(rows))
        return PersonsAt(rows[:, :4] / (width, height, width, height), scores)


def check_person_boxes(cfg: CfgNode, person_boxes: Any) -> None:
    """Refuse a model without the boxes that it needs, and boxes for one that finds persons.

    Args:
        cfg: of the model.
        person_boxes: see :func:`.as_box_source`.

    Raises:
        UserError: see above.
    """
    architecture = cfg.MODEL.META_ARCHITECTURE
    if cfg.MODEL.LOAD_PROPOSALS and person_boxes is None:
        raise UserError(
            f"{architecture} needs the boxes of persons (MODEL.LOAD_PROPOSALS): give a file, "
            "--boxes FILE, or a detector, --person-detector; person_boxes= in a program"
        )
    if person_boxes is not None and not cfg.MODEL.LOAD_PROPOSALS:
        raise UserError(
            f"{architecture} finds persons itself (MODEL.LOAD_PROPOSALS is False): leave out "
            "--boxes and --person-detector; in a program, person_boxes"
        )
