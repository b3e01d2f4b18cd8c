"""What tests of detection in videos share."""

import pytest
from numbered_videos import write_video

from tubedet.engine import load_config


@pytest.fixture
def cfg():
    """The toy model, every query of which is a result."""
    return load_config(
        "configs/quick_schedules/TubeR_toy.yaml",
        ["MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0"],
    )


@pytest.fixture
def film(tmp_path):
    """4.1 seconds at 30 frames a second, the number of each in the picture."""
    return write_video(tmp_path / "film.mp4", 123, b_frames=2, gop=12)
