"""How the stored picture of a video is turned and mirrored to be shown."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import av
import numpy as np

from .pyav_versions import display_matrix

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to show a picture: rows may become columns, then sides are exchanged.

    Attributes:
        swaps_axes: whether rows become columns.
        flips_x: whether left and right are exchanged afterwards.
        flips_y: whether top and bottom are.
    """

    swaps_axes: bool = False
    flips_x: bool = False
    flips_y: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: np.ndarray) -> Orientation | None:
        """Read a display matrix as ffmpeg does, which leaves scaling and shifts out, too.

        Args:
            matrix: (3, 3), of any scale. A stored point (x, y, 1) times it is where it is shown.

        Returns:
            None for an angle that is no multiple of 90 degrees.
        """
        (x_to_x, x_to_y), (y_to_x, y_to_y) = np.asarray(matrix, dtype=float)[:2, :2].tolist()
        to_x, to_y = math.hypot(x_to_x, y_to_x), math.hypot(x_to_y, y_to_y)
        if not to_x or not to_y:  # shows nothing
            return cls()
        degrees = round(math.degrees(math.atan2(x_to_y / to_y, x_to_x / to_x)))
        if degrees % 90:
            return None
        if degrees % 180:
            return cls(True, flips_x=y_to_x < 0, flips_y=x_to_y < 0)
        return cls(False, flips_x=x_to_x < 0, flips_y=y_to_y < 0)

    def shown_sides(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height as shown.

        Args:
            width, height: as stored.
        """
        return (height, width) if self.swaps_axes else (width, height)

    def upright(self, image: np.ndarray) -> np.ndarray:
        """Return a view of a picture as it is to be shown.

        Args:
            image: (H, W, 3) as stored.
        """
        if self.swaps_axes:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1]


def frame_orientation(frame: av.VideoFrame, path: str) -> Orientation:
    """Return how to show a frame. What cannot be done is said in the log.

    Args:
        frame: from a decoder.
        path: the video, for the message.
    """
    try:
        matrix = display_matrix(frame)
    except ValueError:
        turned = Orientation.from_display_matrix(_rotation_matrix(frame.rotation))
        logger.warning(
            f"{path}: this version of PyAV tells the rotation of its frames ({frame.rotation} "
            "degrees), but not whether they are mirrored"
        )
        return turned or Orientation()
    if matrix is None:
        return Orientation()
    orientation = Orientation.from_display_matrix(matrix)
    if orientation is None:
        logger.warning(
            f"{path}: its frames stay as they are stored: they are to be turned by "
            f"{frame.rotation} degrees, which is no multiple of 90"
        )
    return orientation or Orientation()


def _rotation_matrix(degrees: float) -> np.ndarray:
    """Return the display matrix of a counterclockwise rotation."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
