import pytest
from numbered_videos import numbered_frame, read_numbers
from numbered_videos import write_video as write_numbered_video


@pytest.fixture(scope="session")
def numbers_in():
    return read_numbers


@pytest.fixture(scope="session")
def frame_with_number():
    return numbered_frame


@pytest.fixture(scope="session")
def write_video():
    return write_numbered_video
