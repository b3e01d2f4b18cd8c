import os
import subprocess

import numpy as np
import pytest

from tubedet.inference.drawing import window

IMAGE = np.zeros((20, 30, 3), np.uint8)


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="needs X or none")
def test_without_a_display_the_reason_is_said(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match="no window can be opened"):
        window.VideoWindow("film")


def test_an_opencv_without_windows_is_named(monkeypatch):
    def run(*arguments, **_):
        return subprocess.CompletedProcess(
            arguments, 1, "", "error: The function is not implemented"
        )

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(OSError, match="opencv-python-headless"):
        window.check_windows()


@pytest.mark.parametrize(
    "key, visible, wanted",
    [(-1, 1.0, True), (ord("q"), 1.0, False), (27, 1.0, False), (-1, 0.0, False)],
)
def test_keys_and_closing_end_it(monkeypatch, key, visible, wanted):
    shown = []
    for name, result in {
        "namedWindow": None,
        "resizeWindow": None,
        "waitKey": key,
        "getWindowProperty": visible,
        "destroyWindow": None,
    }.items():
        monkeypatch.setattr(window.cv2, name, lambda *_, result=result: result)
    monkeypatch.setattr(window.cv2, "imshow", lambda _, image: shown.append(image))
    monkeypatch.setattr(window, "check_windows", lambda: None)
    with window.VideoWindow("film") as opened:
        assert opened.show(IMAGE + np.array([1, 2, 3], np.uint8)) is wanted
    assert shown[0][0, 0].tolist() == [3, 2, 1]  # OpenCV's order of colours
