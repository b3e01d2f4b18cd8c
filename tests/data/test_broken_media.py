"""Files and folders that are not the videos they should be: a clear message names each."""

import time

import av
import cv2
import numpy as np
import pytest

from tubedet.data.video.reader import VideoError, VideoReaderCache, open_video


@pytest.fixture
def film(tmp_path, write_video):
    """A video with its index at the end, as cameras write it."""
    return tmp_path / write_video(tmp_path / "film.mp4", 150, b_frames=2)


@pytest.fixture
def frames(tmp_path, frame_with_number):
    folder = tmp_path / "film"
    folder.mkdir()
    for number in range(20):
        cv2.imwrite(str(folder / f"film_{number + 1:06d}.jpg"), frame_with_number(number))
    return folder


def write_sound(path, *, with_cover=False):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        if with_cover:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width = cover.height = 64
            cover.pix_fmt = "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(cover.encode(picture.reformat(format="yuvj420p")))
            container.mux(cover.encode())
        samples = np.zeros((1, 8000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


def write_picture(path, extension):
    cv2.imwrite(str(path.with_suffix(extension)), np.zeros((48, 64, 3), np.uint8))
    path.with_suffix(extension).rename(path)


BROKEN = {
    "zero bytes": (lambda p: p.write_bytes(b""), "the file is empty"),
    "text": (lambda p: p.write_text("<html>404 Not Found</html>\n" * 50), "cannot be opened"),
    "noise": (
        lambda p: p.write_bytes(np.random.default_rng(0).bytes(50_000)),
        "cannot be opened|no video|no decodable",
    ),
    "sound only": (write_sound, "holds no video stream"),
    "sound with a cover": (lambda p: write_sound(p, with_cover=True), "holds no video stream"),
    "png": (lambda p: write_picture(p, ".png"), r"is a still image \(png_pipe\), no video"),
    "jpg": (lambda p: write_picture(p, ".jpg"), r"is a still image \(jpeg_pipe\), no video"),
    "cut before its index": (None, "cannot be opened"),
    "head only": (None, "cannot be opened"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_video_is_named(tmp_path, film, kind):
    write, message = BROKEN[kind]
    path = tmp_path / "wrong.mp4"
    if write is None:
        content = film.read_bytes()
        path.write_bytes(content[: len(content) * 9 // 10] if "index" in kind else content[:100])
    else:
        write(path)
    begin = time.monotonic()
    with pytest.raises(VideoError, match=message) as caught:
        open_video(path)
    assert str(caught.value).startswith(f"{path}: ") and time.monotonic() - begin < 60


def test_a_video_with_a_wrong_name_is_read_all_the_same(tmp_path, film, numbers_in):
    for name in ("film.avi", "film.webm", "film.txt"):
        with open_video(film.rename(tmp_path / name)) as reader:
            assert numbers_in(reader.read([1.0])) == [30]
        film = tmp_path / name


@pytest.mark.parametrize("extension, codec", [("mkv", "libx264"), ("avi", "mpeg4")])
def test_a_cut_off_file_is_read_up_to_its_end(tmp_path, write_video, numbers_in, extension, codec):
    path = tmp_path / f"film.{extension}"
    write_video(path, 150, codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with open_video(path) as reader:
        assert numbers_in(reader.read([0.5, 1.0])) == [15, 30]
        with pytest.raises(VideoError, match=rf"film\.{extension}: no frame from 4\.900 s"):
            reader.read([4.9])


def test_a_missing_frame_in_the_middle_of_a_folder_is_named(frames):
    assert open_video(frames).num_frames == 20
    (frames / "film_000010.jpg").unlink()
    message = rf"{frames}: frame film_000010\.jpg is missing: the numbers jump from 9 to 11"
    with pytest.raises(VideoError, match=message):
        VideoReaderCache().open(frames)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_cut_off_frame_is_named(tmp_path, frame_with_number, extension):
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}{extension}"), noise)
    reader = open_video(tmp_path, folder_fps=10)
    path = tmp_path / f"1{extension}"
    path.write_bytes(path.read_bytes()[:-200])
    reader.read([0.0, 0.2])
    with pytest.raises(VideoError, match=rf"1\{extension}: (the image is cut off|not a readable)"):
        reader.read([0.1])


def test_a_folder_with_the_name_of_a_video_is_a_folder_without_frames(tmp_path):
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(VideoError, match=r"film\.mp4: the folder holds no frame"):
        open_video(tmp_path / "film.mp4")
