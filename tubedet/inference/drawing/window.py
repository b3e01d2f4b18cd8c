"""A window on the screen in which a video is shown."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager

import cv2
import numpy as np

_TRIAL = "import cv2; cv2.namedWindow('tubedet'); cv2.waitKey(1); cv2.destroyAllWindows()"
_TRIAL_SECONDS = 60
_QUIT_KEYS = (ord("q"), 27)  # 27 is Escape


class VideoWindow(AbstractContextManager):
    """A window of OpenCV; the keys q and Escape and its closing say that somebody has seen enough.

    Example::

        with VideoWindow("film.mp4") as window:
            for frame in frames:
                if not window.show(frame):
                    break

    Args:
        title: of the window.

    Raises:
        OSError: if no window can be opened, with the reason.
    """

    def __init__(self, title: str):
        check_windows()
        self.title = title
        self._is_open = False

    def show(self, image_rgb: np.ndarray) -> bool:
        """Show the next frame; the first one opens the window.

        Args:
            image_rgb: uint8 array (H, W, 3), RGB.

        Returns:
            Whether more is wanted.
        """
        if not self._is_open:
            cv2.namedWindow(self.title, cv2.WINDOW_NORMAL)
            cv2.resizeWindow(self.title, image_rgb.shape[1], image_rgb.shape[0])
            self._is_open = True
        cv2.imshow(self.title, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        visible = cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1
        return visible and key not in _QUIT_KEYS

    def __exit__(self, *exc_info) -> None:
        if self._is_open:
            cv2.destroyWindow(self.title)


def check_windows() -> None:
    """Try to open a window, in another process, because without a display Qt ends the process.

    Raises:
        OSError: if that fails, with the reason.
    """
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"no window opened within {_TRIAL_SECONDS} s: write a video") from error
    if trial.returncode == 0:
        return
    if "not implemented" in trial.stderr:
        raise OSError(
            "no window can be opened: this OpenCV was built without them; install opencv-python "
            "in place of opencv-python-headless, or write a video"
        )
    raise OSError("no window can be opened: there is no display (is $DISPLAY set?); write a video")
