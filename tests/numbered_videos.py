"""Small videos whose frames carry their own number."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NUM_BITS = 8


def numbered_frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Black frame with a white bar for every set bit of the number, bit 0 on the left."""
    bits = number >> np.arange(NUM_BITS) & 1
    row = np.repeat(bits * 255, width // NUM_BITS).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def read_numbers(frames: np.ndarray) -> list[int]:
    """Numbers of the frames (T, H, W, 3)."""
    bars = frames[..., 0].mean(axis=1).reshape(len(frames), NUM_BITS, -1).mean(axis=2)
    return ((bars > 128) << np.arange(NUM_BITS)).sum(axis=1).tolist()


def write_video(
    path,
    num_frames=90,
    *,
    rate=30,
    times=None,
    codec="libx264",
    gop=12,
    b_frames=0,
    rotation=0,
    size=(48, 64),
    first_pts=0,
    container_options=None,
    codec_options=None,
    pixel_format="yuv420p",
) -> str:
    """Writes frame i = numbered_frame(i) and returns the path as str.

    times: seconds of each frame, rounded to 1 ms; default: the constant rate.
    rotation: degrees by which players turn an mp4, counterclockwise, a multiple of 90.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        options = {"g": str(gop), "bf": str(b_frames), **(codec_options or {})}
        rate = Fraction(rate).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        time_base = 1 / rate
        if times is not None:
            time_base = Fraction(1, 1000)
            stream.codec_context.time_base = time_base
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24")
            frame.time_base = time_base
            frame.pts = first_pts + (number if times is None else round(times[number] * 1000))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if rotation:
        _mark_rotation(Path(path), rotation)
    return str(path)


def _mark_rotation(path: Path, degrees: int) -> None:
    """Writes the matrix of the track header as phones do; PyAV does that from 17.1 on only."""
    content = bytearray(path.read_bytes())
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][degrees // 90 % 4]
    one = 1 << 16
    matrix = (one * cosine, -one * sine, 0, one * sine, one * cosine, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, *matrix)
    path.write_bytes(content)


def damage_packets(path, numbers, *, kept: float = 0.0) -> None:
    """Overwrites packets of a video with what is no data of it.

    numbers: of the packets, in the order of decoding.
    kept: share at the beginning of each that stays, so that a part of the frame can be decoded.
    """
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(Path(path).read_bytes())
    for position, size in (packets[number] for number in numbers):
        start = position + round(kept * size)
        content[start : position + size] = b"\xff" * (position + size - start)
    Path(path).write_bytes(content)
