"""Small pictures of key frames with a wrong box and what it should have been."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np

from tubedet.data.video.reader import VideoError, VideoReaderCache, read_key_frame
from tubedet.evaluation.error_examples import Example

logger = logging.getLogger(__name__)

# Told apart with every kind of colour blindness; the page has a legend with the same.
DETECTION_RGB, GROUNDTRUTH_RGB = (255, 196, 0), (0, 150, 255)
_JPEG_QUALITY = 80


class Paint(Protocol):
    """Paints on key frames in red.

    Attributes:
        meaning: what red stands for.
    """

    meaning: str

    def __call__(self, frame_rgb: np.ndarray, record: dict, example: Example) -> np.ndarray:
        """Return what is shown of a key frame.

        Args:
            frame_rgb: uint8 (H, W, 3), RGB.
            record: dataset dict of the key frame.
            example: what is drawn into it.
        """


def draw_thumbnails(
    examples: Sequence[Example],
    records: Mapping[tuple[str, float], dict],
    *,
    width: int = 280,
    paint: Paint | None = None,
) -> list[bytes | None]:
    """Draw the box of each example, and the one it is compared with, into its key frame.

    Args:
        examples: What to draw.
        records: (video id, timestamp as in the examples) to the dataset dict of the key frame, of
            which ``video``, ``fps``, and ``frame_number`` or ``timestamp`` and ``start_second``
            are used.
        width: Of the pictures, pixels.
        paint: Called with every key frame before the box is drawn, videos in order; None: nothing
            is painted.

    Returns:
        list: a jpg per example; None where there is no record or its video cannot be read, which
        is logged.
    """
    readers = VideoReaderCache()
    pictures: list[bytes | None] = [None] * len(examples)
    failed: dict[str, VideoError] = {}
    # By video and time, so that no video is opened twice.
    order = sorted(
        range(len(examples)), key=lambda i: (examples[i].video_id, examples[i].timestamp)
    )
    for index in order:
        example = examples[index]
        record = records.get((example.video_id, example.timestamp))
        if record is None or record["video"] in failed:
            continue
        try:
            reader = readers.open(record["video"], folder_fps=record["fps"])
            frame = read_key_frame(reader, record)
            if paint is not None:
                frame = paint(frame, record, example)
            pictures[index] = _drawn(frame, example, width)
        except VideoError as error:
            failed[record["video"]] = error
    readers.close()
    if failed:
        first = next(iter(failed.values()))
        logger.warning("No pictures of %d videos that cannot be read: %s", len(failed), first)
    return pictures


def _drawn(frame: np.ndarray, example: Example, width: int) -> bytes:
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    colours = [DETECTION_RGB, GROUNDTRUTH_RGB]
    if example.is_groundtruth:
        colours.reverse()
    if example.nearest is not None:
        _draw_box(picture, example.nearest.box, colours[1])
    _draw_box(picture, example.box, colours[0])
    _, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )
    return encoded.tobytes()


def _draw_box(picture: np.ndarray, box: Sequence[float], colour: tuple[int, int, int]) -> None:
    height, width = picture.shape[:2]
    corners = np.clip(box, 0, 1) * (width - 1, height - 1, width - 1, height - 1)
    x1, y1, x2, y2 = np.rint(corners).astype(int).tolist()
    # A dark line around the bright one shows on any ground.
    cv2.rectangle(picture, (x1, y1), (x2, y2), (0, 0, 0), thickness=4, lineType=cv2.LINE_AA)
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thickness=2, lineType=cv2.LINE_AA)
