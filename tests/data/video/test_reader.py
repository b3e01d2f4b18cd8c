import gc
import os
import pickle
import signal
import time

import av
import cv2
import numpy as np
import pytest
from picture_videos import block_centre, picture_with_blocks
from PIL import Image, ImageOps

from tubedet.data.video.reader import (
    FrameFolderReader,
    VideoError,
    VideoFileReader,
    VideoReaderCache,
    open_video,
)


@pytest.fixture
def frame_folder(tmp_path, frame_with_number):
    folder = tmp_path / "frames of a film"
    folder.mkdir()
    for number in range(40):
        cv2.imwrite(str(folder / f"film_{number + 1:06d}.jpg"), frame_with_number(number))
    (folder / "readme.txt").write_text("not a frame")
    (folder / "._film_000001.jpg").write_bytes(b"left by macOS")
    return folder


def resample_to_folder(path, folder, rate):
    """What ffmpeg's filter ``fps`` writes; frames are lossless."""
    folder.mkdir()
    with av.open(path) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream)
        resampler = graph.add("fps", f"fps={rate}")
        sink = graph.add("buffersink")
        source.link_to(resampler)
        resampler.link_to(sink)
        graph.configure()
        written = 0
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    resampled = graph.pull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
                written += 1
                image = resampled.to_ndarray(format="bgr24")
                cv2.imwrite(str(folder / f"{written:06d}.png"), image)


@pytest.mark.parametrize("rate", [24, 25, 30000 / 1001, 30, 60])
def test_folder_and_file_give_the_same_frames(tmp_path, write_video, rate):
    path = write_video(tmp_path / "film.mp4", 100, rate=rate, b_frames=2)
    resample_to_folder(path, tmp_path / "film", 30)
    num_written = len(os.listdir(tmp_path / "film"))
    with open_video(path) as file, open_video(tmp_path / "film", folder_fps=30) as folder:
        times = np.arange(num_written) / 30
        np.testing.assert_array_equal(file.read(times, tick=1 / 30), folder.read(times))


def test_open_video_tells_the_storage_forms_apart(tmp_path, write_video, frame_folder):
    assert isinstance(open_video(frame_folder), FrameFolderReader)
    assert isinstance(open_video(write_video(tmp_path / "film.mp4", 3)), VideoFileReader)


def test_folder_is_read_in_the_order_of_names(frame_folder, numbers_in):
    with FrameFolderReader(frame_folder, fps=10) as reader:
        assert (reader.height, reader.width, reader.num_frames) == (48, 64, 40)
        assert reader.duration == 4.0
        frames = reader.read([1.0, 0.0, 2.5, 1.0, 3.9])
        assert frames.shape == (5, 48, 64, 3) and frames.dtype == np.uint8
        assert numbers_in(frames) == [10, 0, 25, 10, 39]


def test_folder_times_are_clamped_one_by_one(frame_folder, numbers_in):
    reader = FrameFolderReader(frame_folder, fps=10)
    assert numbers_in(reader.read([-1.0, 0.2, 3.9, 7.0])) == [0, 2, 39, 39]
    with pytest.raises(VideoError, match=r"the video is 4\.000 s long"):
        reader.read([4.2, 5.0])


def test_folder_colours_are_rgb(tmp_path):
    image = np.zeros((10, 12, 3), np.uint8)
    image[..., 0] = 200  # blue in OpenCV's order
    cv2.imwrite(str(tmp_path / "1.png"), image)
    assert FrameFolderReader(tmp_path).read([0.0])[0, 5, 5].tolist() == [0, 0, 200]


def test_folder_iteration(frame_folder, numbers_in):
    seconds, frames = zip(*FrameFolderReader(frame_folder, fps=10), strict=True)
    assert numbers_in(np.stack(frames)) == list(range(40))
    np.testing.assert_allclose(seconds, np.arange(40) / 10)


def test_folder_is_listed_again_when_it_changed(frame_folder, frame_with_number):
    assert FrameFolderReader(frame_folder).num_frames == 40
    cv2.imwrite(str(frame_folder / "film_000041.jpg"), frame_with_number(40))
    os.utime(frame_folder, ns=(1, 1))
    assert FrameFolderReader(frame_folder).num_frames == 41


def test_broken_frame_is_named(frame_folder):
    (frame_folder / "film_000006.jpg").write_bytes(b"not a jpg")
    reader = FrameFolderReader(frame_folder, fps=10)
    reader.read([0.0, 0.4])
    with pytest.raises(VideoError, match=r"film_000006\.jpg: not a readable image \(frame 5"):
        reader.read([0.5])


def test_frame_of_another_size_is_named(frame_folder):
    cv2.imwrite(str(frame_folder / "film_000006.jpg"), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(VideoError, match=r"film_000006\.jpg: frame of 10x10 pixels"):
        FrameFolderReader(frame_folder, fps=10).read([0.5])


@pytest.fixture
def smooth_folder(tmp_path):
    """Three 96x144 pictures without fine detail, as jpg and as png."""
    small = np.random.default_rng(0).integers(0, 256, (3, 6, 9, 3), dtype=np.uint8)
    for extension in ("jpg", "png"):
        (tmp_path / extension).mkdir()
        for number, image in enumerate(small):
            image = cv2.resize(image, (144, 96), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(tmp_path / extension / f"{number}.{extension}"), image)
    return tmp_path


@pytest.mark.parametrize(
    ("min_short_side", "factor"),
    [(None, 1), (96, 1), (49, 1), (48, 2), (25, 2), (24, 4), (12, 8), (1, 8)],
)
def test_jpgs_are_decoded_at_the_least_size_that_is_enough(
    smooth_folder, monkeypatch, min_short_side, factor
):
    flags = []
    imread = cv2.imread
    reader = FrameFolderReader(smooth_folder / "jpg", fps=10)
    full = reader.read([0.0, 0.1, 0.2])
    monkeypatch.setattr(cv2, "imread", lambda name, flag: flags.append(flag) or imread(name, flag))
    frames = reader.read([0.0, 0.1, 0.2], min_short_side=min_short_side)
    assert frames.shape == (3, 96 // factor, 144 // factor, 3)
    assert (reader.height, reader.width) == (96, 144)
    expected_flag = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    assert flags == [expected_flag[factor]] * 3
    block_means = full.reshape(3, 96 // factor, factor, 144 // factor, factor, 3).mean(axis=(2, 4))
    assert np.abs(frames - block_means).mean() < 1.0


def test_only_jpgs_with_divisible_sides_are_reduced(smooth_folder, tmp_path):
    png = FrameFolderReader(smooth_folder / "png").read([0.0], min_short_side=12)
    assert png.shape == (1, 96, 144, 3)
    odd = tmp_path / "odd"
    odd.mkdir()
    cv2.imwrite(str(odd / "1.jpg"), np.zeros((98, 150, 3), np.uint8))
    assert FrameFolderReader(odd).read([0.0], min_short_side=10).shape == (1, 49, 75, 3)


def test_frame_of_another_size_is_named_with_its_stored_size(smooth_folder):
    cv2.imwrite(str(smooth_folder / "jpg" / "1.jpg"), np.zeros((48, 72, 3), np.uint8))
    with pytest.raises(VideoError, match=r"1\.jpg: frame of 72x48 pixels .* of 144x96"):
        FrameFolderReader(smooth_folder / "jpg", fps=10).read([0.1], min_short_side=24)


def test_empty_folder_and_missing_path_are_named(tmp_path):
    with pytest.raises(VideoError, match="holds no frame"):
        open_video(tmp_path)
    with pytest.raises(VideoError, match="no_such_film"):
        open_video(tmp_path / "no_such_film")
    with pytest.raises(VideoError, match="no_such_film"):
        FrameFolderReader(tmp_path / "no_such_film")


@pytest.fixture
def three_videos(tmp_path, write_video):
    return [write_video(tmp_path / f"{n}.mp4", 30 + n) for n in range(3)]


def num_handles(*paths):
    """How many open files of this process are these; others come and go with the collector."""
    wanted = [os.stat(path) for path in paths]
    count = 0
    for number in os.listdir("/dev/fd"):
        try:
            opened = os.fstat(int(number))
        except OSError:  # the handle that listed the folder
            continue
        count += any(os.path.samestat(opened, file) for file in wanted)
    return count


def test_cache_keeps_a_bounded_number_of_readers(three_videos):
    cache = VideoReaderCache(max_open=2)
    first, second = (cache.open(path) for path in three_videos[:2])
    assert cache.open(three_videos[0]) is first
    cache.open(three_videos[2])
    assert num_handles(*three_videos) == 2
    first.read([0.5])
    with pytest.raises(VideoError, match="closed"):  # it was the least recently used one
        second.read([0.5])
    cache.close()
    assert num_handles(*three_videos) == 0


def test_failed_opening_leaks_no_file(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video at all" * 1000)
    for _ in range(5):
        with pytest.raises(VideoError) as caught:
            open_video(path)
    assert num_handles(path) == 0, caught.value


def test_pickled_cache_arrives_empty(three_videos):
    cache = VideoReaderCache(max_open=3, num_threads=2)
    reader = cache.open(three_videos[0])
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.max_open, copy.num_threads) == (3, 2)
    assert copy.open(three_videos[0]) is not reader


def exit_code_within(child, seconds):
    """Exit code of a forked process; None if it had to be killed."""
    for _ in range(int(seconds / 0.05)):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.parametrize("num_threads", [1, 2])
def test_forked_process_has_its_own_readers(three_videos, numbers_in, num_threads):
    cache = VideoReaderCache(num_threads=num_threads)
    reader = cache.open(three_videos[0])
    reader.read([0.2])
    child = os.fork()
    if child == 0:
        own = cache.open(three_videos[0])
        ok = own is not reader and numbers_in(own.read([5 / 30, 25 / 30])) == [5, 25]
        os._exit(0 if ok else 1)
    for number in (28, 3, 15):
        assert numbers_in(cache.open(three_videos[0]).read([number / 30])) == [number]
    assert exit_code_within(child, 120) == 0


def test_forked_process_does_not_free_the_decoders_of_its_parent(three_videos):
    gc.disable()
    try:
        garbage = [open_video(three_videos[0], num_threads=4)]
        garbage[0].read([0.2])
        garbage.append(garbage)
        del garbage
        child = os.fork()
        if child == 0:
            gc.collect()
            os._exit(0)
        assert exit_code_within(child, 120) == 0
    finally:
        gc.enable()
        gc.collect()


def test_a_nul_in_a_path_is_told():
    with pytest.raises(VideoError, match="'films/a.x00.mp4': no path has a NUL character"):
        open_video("films/a\0.mp4")


@pytest.mark.parametrize("extension", ["jpg", "png"])
@pytest.mark.parametrize("mark", range(1, 9))
def test_pictures_are_shown_as_their_exif_mark_says(tmp_path, extension, mark):
    exif = Image.Exif()
    exif[0x0112] = mark
    picture = Image.fromarray(picture_with_blocks(96, 128))
    for number in range(3):
        picture.save(tmp_path / f"{number}.{extension}", exif=exif)
    expected = np.array(ImageOps.exif_transpose(Image.open(tmp_path / f"0.{extension}")))
    with open_video(tmp_path) as folder, open_video(tmp_path / f"0.{extension}") as single:
        for reader in (folder, single):
            assert (reader.height, reader.width) == expected.shape[:2]
            np.testing.assert_array_equal(reader.read([0.0])[0], expected)
            np.testing.assert_array_equal(next(iter(reader))[1], expected)
        reduced = folder.read([0.05], min_short_side=48)[0]
    factor = 2 if extension == "jpg" else 1
    assert reduced.shape[:2] == (expected.shape[0] // factor, expected.shape[1] // factor)
    assert block_centre(reduced) == pytest.approx(block_centre(expected), abs=0.02)
