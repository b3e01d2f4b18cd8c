import functools
import http.server
import threading
from fractions import Fraction

import cv2
import numpy as np
import pytest

from tubedet.data import VideoError
from tubedet.data.video.sources import open_frame_source
from tubedet.data.video.video_file import VideoFileReader


class FakeCamera:
    """Stands in for cv2.VideoCapture: three pictures, then nothing."""

    opened = []

    def __init__(self, index):
        self.index, self.num_left, self.is_released = index, 3, False
        self.opened.append(self)

    def isOpened(self):
        return self.index < 2

    def read(self):
        if self.num_left == 0 or self.index == 1:
            return False, None
        self.num_left -= 1
        return True, np.full((4, 6, 3), (0, 100, 200), np.uint8)  # BGR

    def get(self, number):
        return 25.0 if number == cv2.CAP_PROP_FPS else 0.0

    def release(self):
        self.is_released = True


@pytest.fixture
def cameras(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(FakeCamera, "opened", [])
    return FakeCamera.opened


@pytest.fixture
def server(tmp_path):
    """Address of a server of the files in ``tmp_path``."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_video_file(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "my film.mp4", 50, rate=25, b_frames=2, rotation=90)
    with open_frame_source(path) as source:
        assert (source.name, source.path) == ("my film", path)
        assert (source.rate, source.num_frames, source.duration) == (25, 50, pytest.approx(2.0))
        assert (source.height, source.width) == (64, 48)
        times, frames = zip(*source)
    np.testing.assert_allclose(times, np.arange(50) / 25)
    assert numbers_in(np.rot90(np.stack(frames), -1, (1, 2))) == list(range(50))


def test_stored_frames_of_a_video_are_small_and_start_late(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "film.mkv", 120, gop=10, b_frames=2, size=(240, 320))
    with open_frame_source(path) as source:
        stored = list(source.stored_frames(2.0))
        assert 47 <= 120 - len(stored) <= 59 and stored[0][0] < 2.0
        assert numbers_in(np.stack([source.rgb(frame) for _, frame in stored])) == list(
            range(120 - len(stored), 120)
        )
        # Half of RGB, but for the decoder's padding.
        assert source.num_bytes(stored[0][1]) < 0.65 * 240 * 320 * 3


def test_a_url(tmp_path, server, write_video, numbers_in):
    write_video(tmp_path / "a film.mkv", 40)
    with open_frame_source(f"{server}/a%20film.mkv?key=1") as source:
        assert source.name == "a film" and source.path.startswith("http://")
        assert numbers_in(np.stack([frame for _, frame in source])) == list(range(40))
    with pytest.raises(VideoError, match=rf"{server}/nothing\.mp4: cannot be opened"):
        open_frame_source(f"{server}/nothing.mp4")


def test_a_folder_and_a_single_image(tmp_path, frame_with_number, numbers_in):
    folder = tmp_path / "frames of a film"
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number + 1}.png"), frame_with_number(number))
    with open_frame_source(folder, fps=29.97) as source:
        assert (source.name, source.path, source.num_frames) == (folder.name, str(folder), 12)
        assert source.rate == Fraction(2997, 100)
        times, frames = zip(*source)
        assert numbers_in(np.stack(frames)) == list(range(12))
        np.testing.assert_allclose(times, np.arange(12) / 29.97)
        assert [numbers_in(source.rgb(f)[None])[0] for _, f in source.stored_frames(0.2)][:2] == [
            4,
            5,
        ]
    with open_frame_source(folder) as source:
        assert source.rate == 30
    with open_frame_source(folder / "3.png") as source:
        assert source.name == "3" and numbers_in(np.stack([f for _, f in source])) == [2]


def test_frames_of_a_program(frame_with_number, numbers_in):
    array = np.stack([frame_with_number(number) for number in range(9)])
    with open_frame_source(array, fps=30000 / 1001) as source:
        assert (source.name, source.path, source.num_frames) == ("frames", None, 9)
        assert source.rate == Fraction(30000, 1001) and source.duration == pytest.approx(0.3003)
        times, frames = zip(*source)
    assert numbers_in(np.stack(frames)) == list(range(9))
    np.testing.assert_allclose(times, np.arange(9) * 1001 / 30000)

    def refilled():
        image = np.empty((48, 64, 3), np.uint8)
        for number in range(5):
            image[:] = frame_with_number(number)
            yield image

    source = open_frame_source(refilled(), fps=5)
    assert (source.num_frames, source.duration) == (None, None)
    assert numbers_in(np.stack([frame for _, frame in list(source)])) == list(range(5))


@pytest.mark.parametrize(
    "frames, message",
    [
        ([np.zeros((4, 6, 3))], r"frame 0 must be a uint8 RGB image .* got float64 \(4, 6, 3\)"),
        ([np.zeros((4, 6), np.uint8)], r"frame 0 must be .* got uint8 \(4, 6\)"),
        (["a.jpg"], r"frame 0 must be .* got str \(\)"),
        ([np.zeros((4, s, 3), np.uint8) for s in (6, 8)], r"frame 1 must be .* \(4, 8, 3\)"),
    ],
)
def test_frames_of_another_form_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        list(open_frame_source(frames, fps=25))


def test_a_camera(cameras):
    with open_frame_source(0) as source:
        assert (source.name, source.path, source.rate) == ("camera0", None, 25)
        assert (source.height, source.width, source.num_frames) == (4, 6, None)
        found = []
        with pytest.raises(VideoError, match="camera0: the camera does not show anything any more"):
            found.extend(iter(source))
    assert cameras[0].is_released
    with open_frame_source(0) as source:
        frames = iter(source)
        (time, image), (later, _) = next(frames), next(frames)
    assert time == 0 and 0 < later < 5
    assert image[0, 0].tolist() == [200, 100, 0]


@pytest.mark.parametrize("index", [1, 2])
def test_a_missing_camera_is_named(cameras, index):
    with pytest.raises(VideoError, match=f"camera {index}: there is none, or it cannot be read"):
        open_frame_source(index)
    assert cameras[0].is_released


def test_a_missing_camera_is_no_word_of_opencv(capfd):
    with pytest.raises(VideoError, match="camera 987"):
        open_frame_source(987)
    assert capfd.readouterr().err == ""


def test_what_has_no_frames_is_refused(tmp_path, write_video):
    with pytest.raises(VideoError, match=r"nothing\.mp4: .*No such file"):
        open_frame_source(tmp_path / "nothing.mp4")
    with pytest.raises(VideoError, match="the folder holds no frame"):
        open_frame_source(tmp_path)
    with pytest.raises(VideoError, match="frames: the iterable holds no frame"):
        open_frame_source(iter(()), fps=25)
    with pytest.raises(ValueError, match="does not tell its rate: give fps"):
        open_frame_source(iter(()))
    with pytest.raises(TypeError, match="not from float"):
        open_frame_source(1.5)
    film = write_video(tmp_path / "film.mp4", 3)
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps must be a positive number"):
            open_frame_source(film, fps=fps)
    with pytest.raises(ValueError, match=r"film\.mp4 has its own frame rate"):
        open_frame_source(film, fps=25)


def test_an_opened_source_is_itself(tmp_path, write_video):
    with open_frame_source(write_video(tmp_path / "film.mp4", 3)) as source:
        assert open_frame_source(source) is source


def test_a_cut_off_file_gives_its_frames_and_then_an_error(tmp_path, write_video, numbers_in):
    options = {"movflags": "faststart"}
    path = tmp_path / "film.mp4"
    write_video(path, 150, container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = []
    with open_frame_source(path) as source:
        with pytest.raises(VideoError, match=r"film\.mp4: the file is cut off \d\.\d{3} s after"):
            frames.extend(frame for _, frame in source)
    assert 60 < len(frames) < 140
    assert numbers_in(np.stack(frames[:-1])) == list(range(len(frames) - 1))


def test_time_stamps_that_jump_back_are_an_error(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / "film.mp4", 9, times=[0, 1, 2, 3, 4, 5, 6, 7, 8])
    seconds = VideoFileReader._seconds
    monkeypatch.setattr(
        VideoFileReader,
        "_seconds",
        lambda self, f: {5.0: 3.9, 7.0: 1.0}.get(seconds(self, f), seconds(self, f)),
    )
    times = []
    with open_frame_source(path) as source:
        with pytest.raises(VideoError, match=r"film\.mp4: its time stamps jump back from 6\.000 s"):
            times.extend(time for time, _ in source)
    assert times == [0, 1, 2, 3, 4, 4, 6]


def test_a_second_pass_starts_again(tmp_path, write_video, numbers_in):
    with open_frame_source(write_video(tmp_path / "film.mp4", 20, b_frames=2)) as source:
        for _ in range(2):
            assert numbers_in(np.stack([frame for _, frame in source])) == list(range(20))


def test_large_frames_are_refused(tmp_path, write_video):
    path = write_video(tmp_path / "film.mp4", 5)
    with open_frame_source(path, max_pixels=48 * 64) as source:
        assert source.is_repeatable and len(list(source)) == 5
        with source.reopened() as again:
            assert len(list(again)) == 5
    with pytest.raises(VideoError, match="frames of 64x48 pixels, and at most 3,071 pixels are"):
        open_frame_source(path, max_pixels=48 * 64 - 1)
