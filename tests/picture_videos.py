"""Small videos of one picture with what files say about pictures: orientation, shape, colours."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# Matrix number of H.264: weights of red and blue in luma.
LUMA_WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def picture_with_blocks(height: int = 48, width: int = 64) -> np.ndarray:
    """Black, with a red block at y 0.37, x 0.18 of its size, and a wide blue one at the bottom."""
    picture = np.zeros((height, width, 3), np.uint8)
    y, x = round(0.37 * height), round(0.18 * width)
    picture[y - 6 : y + 6, x - 6 : x + 6] = (255, 0, 0)
    picture[-8:, width // 4 : width - 8] = (0, 0, 255)
    return picture


def block_centre(picture: np.ndarray) -> tuple[float, float]:
    """Centre of what is red, as fractions (y, x) of the picture."""
    picture = picture.astype(int)
    y, x = np.nonzero((picture[..., 0] > 180) & (picture[..., 1:].max(axis=2) < 90))
    return (y.mean() + 0.5) / picture.shape[0], (x.mean() + 0.5) / picture.shape[1]


def write_picture_video(
    path, picture, *, num_frames=5, rate=10, display_matrix=None, sample_aspect_ratio=None
) -> str:
    """Writes the picture as H.264.

    display_matrix: (a, b, c, d) of an mp4: a point (x, y) is shown at (ax + cy, bx + dy).
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    _write(path, frame, num_frames, rate, pix_fmt="yuv420p", aspect=sample_aspect_ratio)
    if display_matrix is not None:
        set_display_matrix(path, display_matrix)
    return str(path)


def set_display_matrix(path, matrix) -> None:
    """Change the track header of an mp4. (PyAV writes matrices from 17.1 on only.)"""
    path = Path(path)
    content = bytearray(path.read_bytes())
    a, b, c, d = (round(value * (1 << 16)) for value in matrix)
    header = content.index(b"tkhd") + 44
    struct.pack_into(">9i", content, header, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def write_colour_video(path, rgb, *, matrix, tag, full_range=False, pix_fmt="yuv420p") -> str:
    """Writes a video of one colour, whose planes are computed here, by the book.

    matrix: by which; a key of LUMA_WEIGHTS.
    tag: number of the matrix that the file states; 2: none.
    """
    depth = 10 if pix_fmt.endswith("10le") else 8
    red, green, blue = (channel / 255 for channel in rgb)
    of_red, of_blue = LUMA_WEIGHTS[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    chroma = (blue - luma) / (1 - of_blue) / 2, (red - luma) / (1 - of_red) / 2
    unit = 1 << (depth - 8)
    top = 256 * unit - 1
    values = [luma * top if full_range else (16 + 219 * luma) * unit]
    values += [128 * unit + c * (top if full_range else 224 * unit) for c in chroma]
    frame = av.VideoFrame(64, 48, pix_fmt)
    for plane, value in zip(frame.planes, values):
        dtype = np.dtype("<u2" if depth > 8 else "u1")
        plane.update(np.full(plane.buffer_size // dtype.itemsize, round(value), dtype).tobytes())
    _write(path, frame, 3, 10, pix_fmt=pix_fmt, tag=tag, colour_range=2 if full_range else 1)
    return str(path)


def _write(path, frame, num_frames, rate, *, pix_fmt, aspect=None, tag=2, colour_range=0):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
        stream.codec_context.colorspace = tag
        if tag != 2:
            stream.codec_context.color_range = colour_range
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(num_frames):
            frame.time_base, frame.pts = Fraction(1, rate), number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
