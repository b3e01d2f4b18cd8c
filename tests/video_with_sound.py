"""Small videos with a tone."""

from pathlib import Path

import av
import numpy as np

from tubedet.data.video.pyav_versions import open_for_reading

_TITLE, _ODD_TITLE = b"Cafe in the evening", b"Caf\xe9 in the evening"  # the latter is latin-1


def write_video_with_sound(
    path,
    *,
    seconds=2.0,
    rate=10,
    audio_codec="aac",
    audio_seconds=None,
    size=(48, 64),
    options=(),
    odd_titles=False,
):
    """Grey frames that get brighter, and a tone of 440 Hz; returns the path as str.

    ``options`` are those of the container. With ``odd_titles`` the file and both streams have
    titles that are not UTF-8, as some cameras and old programs write them.
    """
    audio_seconds = seconds if audio_seconds is None else audio_seconds
    with av.open(str(path), "w", options=dict(options)) as container:
        video = container.add_stream("libx264", rate=rate)
        video.height, video.width = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream(audio_codec, rate=16000, layout="mono")
        if odd_titles:
            for titled in (container, video, audio):
                titled.metadata["title"] = _TITLE.decode()
        for number in range(round(seconds * rate)):
            image = np.full((*size, 3), 4 * number % 256, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        samples = np.sin(np.arange(round(16000 * audio_seconds)) * (2 * np.pi * 440 / 16000))
        samples = (10_000 * samples).astype(np.int16)[None]
        for begin in range(0, samples.shape[1], 1024):
            part = np.ascontiguousarray(samples[:, begin : begin + 1024])
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, begin
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    if odd_titles:
        content = Path(path).read_bytes()
        assert _TITLE in content, "this type of file holds no title"
        Path(path).write_bytes(content.replace(_TITLE, _ODD_TITLE))
    return str(path)


def audio_packets(path, *, start=0.0, end=float("inf")):
    """(seconds, bytes) of the sound packets that begin in a span, not before 0."""
    with open_for_reading(str(path)) as container:
        packets = [p for p in container.demux(container.streams.audio) if p.pts is not None]
        timed = [(float(p.pts * p.time_base), bytes(p)) for p in packets]
    return [(time, data) for time, data in timed if max(start, 0) <= time < end]
