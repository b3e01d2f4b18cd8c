import sys
from pathlib import Path

import pytest
from video_with_sound import write_video_with_sound

sys.path.insert(0, str(Path(__file__).parents[2] / "datasets"))

from ava_preparation.ffmpeg import Measurements, measure_video


@pytest.mark.parametrize("odd_titles", [False, True])
def test_a_video_is_measured_whatever_its_titles(tmp_path, odd_titles):
    path = write_video_with_sound(tmp_path / "film.mp4", odd_titles=odd_titles)
    assert measure_video(path) == Measurements(20, 2.0, 48, 64, 10.0)
