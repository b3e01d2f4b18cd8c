"""Detection in videos that is slow, abandoned or impossible."""

import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_videos import write_video
from recording_detector import CountingSource, recording_detector

from tubedet.data import VideoError
from tubedet.data.video.sources import open_frame_source
from tubedet.data.video.video_file import VideoFileReader


def read_ahead_threads():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_decoding_goes_on_while_the_model_works(cfg, monkeypatch):
    source = CountingSource(40)
    detector, model = recording_detector(cfg)
    forward, was_busy = model.forward, []

    def slow_forward(batched_inputs):
        num_read, deadline = source.num_read, time.monotonic() + 60
        while source.num_read == num_read < 40 and time.monotonic() < deadline:
            time.sleep(0.001)
        was_busy.append(source.num_read > num_read or num_read == 40)
        return forward(batched_inputs)

    monkeypatch.setattr(model, "forward", slow_forward)
    assert len(list(detector(source))) == 4 and all(was_busy)


def test_abandoning_ends_the_thread_and_closes_the_file(film, cfg, monkeypatch):
    closed = []
    close = VideoFileReader.close
    monkeypatch.setattr(VideoFileReader, "close", lambda self: closed.append(close(self)))
    detector, model = recording_detector(cfg)
    for iterate in (detector, detector.frames):
        for _ in iterate(film):
            assert len(read_ahead_threads()) <= 1
            break
        assert not read_ahead_threads() and len(closed) == 1
        closed.clear()

    def interrupted(batched_inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(detector(film))
    assert not read_ahead_threads() and len(closed) == 1
    # A source that somebody else opened stays open.
    detector, _ = recording_detector(cfg)
    with open_frame_source(film) as source:
        assert len(list(detector(source))) == 5 and len(closed) == 1
    assert len(closed) == 2


def test_errors_of_the_source_reach_the_caller(cfg):
    def frames():
        for number in range(50):
            yield np.full((8, 8, 3), number, np.uint8)
        raise ZeroDivisionError("in the source")

    detector, _ = recording_detector(cfg)
    found = []
    with pytest.raises(ZeroDivisionError, match="in the source"):
        for result in detector(open_frame_source(frames(), fps=10)):
            found.append(result.time)
    assert found == [0, 1, 2, 3, 4]
    assert not read_ahead_threads()


def test_results_before_a_hole_are_handed_out(tmp_path, cfg):
    path = Path(write_video(tmp_path / "video.mp4", 200, gop=10))
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for position, size in packets[60:140]:
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    detector, _ = recording_detector(cfg, batch_size=4)
    times, numbers = [], []
    with pytest.raises(VideoError, match=r"video\.mp4: not decodable from 1\.967 s to 4\.667 s"):
        times.extend(result.time for result in detector(path))
    with pytest.raises(VideoError, match=r"video\.mp4: not decodable from"):
        numbers.extend(frame.index for frame in detector.frames(path))
    # The clip at second 2 is not complete, and frames behind second 1 lie before its result.
    assert times == [0, 1] and numbers == list(range(30))


def test_bad_input_is_refused_at_once(tmp_path, cfg, film):
    detector, _ = recording_detector(cfg)
    for iterate in (detector, detector.frames):
        with pytest.raises(VideoError, match=r"nothing\.mp4: .*No such file"):
            iterate(tmp_path / "nothing.mp4")
        for every in (0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="every must be a positive number"):
                iterate(film, every=every)
        for start in (-1.0, float("nan")):
            with pytest.raises(ValueError, match="start must be a number of seconds from 0 on"):
                iterate(film, start=start)
        for end in (2.0, 1.0, float("nan")):
            with pytest.raises(ValueError, match=r"end must be later than start \(2\.0 s\)"):
                iterate(film, start=2.0, end=end)
        with pytest.raises(VideoError, match=r"film\.mp4: no frame from 9\.000 s on and before 10"):
            list(iterate(film, start=9.0, end=10.0))


def test_a_file_without_frames_is_an_error(tmp_path, cfg):
    path = Path(write_video(tmp_path / "film.mkv", 60))
    with av.open(str(path)) as container:
        first = min(p.pos for p in container.demux(video=0) if p.pos)
    path.write_bytes(path.read_bytes()[:first])
    with pytest.raises(VideoError, match=r"film\.mkv: the video stream holds no decodable frame"):
        recording_detector(cfg)[0](path)
