import logging

import av
import numpy as np
import pytest
from video_with_sound import audio_packets, write_video_with_sound

from tubedet.inference.writers import VideoWriter

FRAME = np.zeros((48, 64, 3), np.uint8)


def copy(source, path, *, num_frames=20, start=0.0, end=None, close=None):
    with VideoWriter(path, 10) as writer:
        writer.copy_audio(str(source), start=start, end=end)
        for _ in range(num_frames):
            writer.write(FRAME)
        if close:
            writer.close(**close)
    return path


@pytest.mark.parametrize(
    "codec, source_suffix, suffix",
    [
        ("aac", ".mp4", ".mp4"),
        ("aac", ".mkv", ".mp4"),
        ("aac", ".ts", ".mp4"),
        ("mp3", ".avi", ".mp4"),
        ("pcm_s16le", ".avi", ".mkv"),
    ],
)
def test_sound_is_copied_as_it_is(tmp_path, codec, source_suffix, suffix):
    source = write_video_with_sound(tmp_path / f"in{source_suffix}", audio_codec=codec)
    output = copy(source, tmp_path / f"out{suffix}")
    with av.open(source) as container:
        origin = next(container.decode(video=0)).time
    before = audio_packets(source, start=origin)
    after = audio_packets(output)
    assert len(after) == len(before) > 5
    if source_suffix != ".ts":  # whose packets have headers of their own
        assert [data for _, data in after] == [data for _, data in before]
    times = [[time for time, _ in packets] for packets in (before, after)]
    assert times[1] == pytest.approx([time - origin for time in times[0]], abs=0.01)
    with av.open(str(output)) as container:
        assert codec in container.streams.audio[0].codec_context.name  # or "mp3float"
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(
            32000, abs=3000
        )


def test_sound_with_a_title_that_is_not_utf8_is_copied(tmp_path):
    source = write_video_with_sound(tmp_path / "in.mkv", odd_titles=True)
    output = copy(source, tmp_path / "out.mkv")
    before, after = audio_packets(source), audio_packets(output)
    assert [data for _, data in after] == [data for _, data in before] and len(after) > 5


def test_a_part_begins_and_ends_with_the_pictures(tmp_path):
    source = write_video_with_sound(tmp_path / "in.mp4", seconds=5.0)
    output = copy(source, tmp_path / "out.mp4", num_frames=15, start=2.0, end=3.5)
    before, after = audio_packets(source, start=2.0, end=3.5), audio_packets(output)
    assert [data for _, data in after] == [data for _, data in before]
    assert [t for t, _ in after] == pytest.approx([t - 2.0 for t, _ in before], abs=1e-3)
    with av.open(str(output)) as container:
        assert container.duration / av.time_base == pytest.approx(1.5, abs=0.07)


def test_sound_that_outlasts_the_pictures_stays_unless_they_were_cut(tmp_path):
    source = write_video_with_sound(tmp_path / "in.mp4", seconds=2.0, audio_seconds=3.0)
    whole = copy(source, tmp_path / "whole.mp4")
    assert audio_packets(whole)[-1][0] > 2.8
    cut = copy(source, tmp_path / "cut.mp4", num_frames=7, close={"cut_audio": True})
    assert 0.6 < audio_packets(cut)[-1][0] < 0.7


def test_sound_is_interleaved_with_the_pictures(tmp_path):
    source = write_video_with_sound(tmp_path / "in.mp4", seconds=4.0)
    output = copy(source, tmp_path / "out.mp4", num_frames=40)
    with av.open(str(output)) as container:
        times = [
            (p.stream.type, float(p.pts * p.time_base))
            for p in container.demux()
            if p.pts is not None
        ]
    latest = {"video": 0.0, "audio": 0.0}
    for kind, time in times:
        latest[kind] = time
        assert abs(latest["video"] - latest["audio"]) < 1.5


def test_what_the_container_cannot_hold_is_left_out_with_a_word(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    source = write_video_with_sound(tmp_path / "in.avi", audio_codec="pcm_alaw")
    output = copy(source, tmp_path / "out.mp4")
    with av.open(str(output)) as container:
        assert not container.streams.audio
        assert sum(1 for _ in container.decode(video=0)) == 20
    (message,) = [r.getMessage() for r in caplog.records]
    assert "in.avi" in message and "pcm_alaw" in message and ".mkv holds it" in message


def test_a_video_without_sound_and_one_that_is_gone(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    silent = copy(tmp_path / "none.mp4", tmp_path / "silent.mp4")
    assert "none.mp4" in caplog.records[0].getMessage()
    copy(silent, tmp_path / "out.mp4")
    assert len(caplog.records) == 1
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20
