import av
import numpy as np
import pytest
from growing_video import write_growing_video
from numbered_videos import write_video
from video_with_sound import write_video_with_sound

from tubedet.web import upload_checks
from tubedet.web.upload_checks import UploadError, check_upload

LIMITS = {"max_megabytes": 1.0, "max_seconds": 10.0}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_a_video_is_accepted(tmp_path, make_film, suffix):
    path = make_film(tmp_path / f"film{suffix}", 3.0)
    assert check_upload(path, **LIMITS) == pytest.approx(3.0, abs=1e-3)
    assert suffix in upload_checks.VIDEO_SUFFIXES


def test_titles_that_are_not_utf8_are_accepted(tmp_path):
    path = write_video_with_sound(tmp_path / "film.mp4", odd_titles=True)
    assert check_upload(path, **LIMITS) == pytest.approx(2.0, abs=1e-3)


def test_limits(tmp_path, make_film, film):
    with pytest.raises(UploadError, match="my film.mp4 is 5 seconds long, and at most 4 seconds"):
        check_upload(film, max_megabytes=1, max_seconds=4)
    with pytest.raises(UploadError, match="my film.mp4 has 0.00.* MB, and at most 0.001 MB"):
        check_upload(film, max_megabytes=0.001, max_seconds=10)
    large = make_film(tmp_path / "large.mp4", 0.1, size=(4102, 2304))
    with pytest.raises(UploadError, match="frames of 9.45 megapixels, and at most 9.44"):
        check_upload(large, **LIMITS)


def test_the_duration_is_measured(tmp_path, make_film):
    """Not believed: a matroska file that is cut off has the duration of the whole in its header."""
    path = make_film(tmp_path / "film.mkv", 8.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert 3 < check_upload(path, **LIMITS) < 7


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


def test_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("certainly no video " * 50)
    (tmp_path / "empty.mp4").touch()
    write_sound(tmp_path / "sound.mkv")
    for name in ("text.mp4", "empty.mp4", "sound.mkv"):
        with pytest.raises(UploadError, match=f"{name} cannot be read as a video. MP4, "):
            check_upload(tmp_path / name, **LIMITS)


def test_playlists_cannot_reach_other_files(tmp_path, make_film):
    """FFmpeg itself opens the film of somebody else."""
    make_film(tmp_path / "film.mp4", 1.0)
    playlist = tmp_path / "mine.mp4"
    playlist.write_text("ffconcat version 1.0\nfile film.mp4\n")
    with av.open(str(playlist)) as container:
        assert len(list(container.decode(video=0))) == 10
    with pytest.raises(UploadError, match="mine.mp4 cannot be read as a video"):
        check_upload(playlist, **LIMITS)


def test_rates_and_sizes_are_limited(tmp_path, make_film):
    path = write_video(tmp_path / "fast.mp4", 121, rate=121)
    with pytest.raises(UploadError, match="fast.mp4 has 121 frames per second, and at most 120"):
        check_upload(path, **LIMITS)
    path = write_video(tmp_path / "long.mp4", 250, rate=30)
    with pytest.raises(UploadError, match="is more than 8 seconds long, and at most 1 seconds"):
        check_upload(path, max_megabytes=1, max_seconds=1)
    path = write_video(tmp_path / "large.mp4", 7, rate=60, size=(2160, 3840))
    with pytest.raises(UploadError, match="has 60 frames of 8.29 megapixels per second"):
        check_upload(path, **LIMITS)


def test_frames_that_grow_are_not_decoded(tmp_path):
    path = write_growing_video(tmp_path / "film.avi", [(96, 96)] * 5 + [(5000, 5000)] * 5)
    assert check_upload(path, max_megabytes=100, max_seconds=10) == pytest.approx(1.0)
    with upload_checks.open_upload(path) as source:
        assert len(list(source)) == 5
