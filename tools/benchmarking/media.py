"""Films to measure with: the same frames as an H.264 file and as a folder of jpgs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from tubedet.data.video.reader import open_video
from tubedet.errors import UserError

_JPEG_QUALITY = 95  # about what ffmpeg -q:v 2 writes


@dataclass(frozen=True)
class Film:
    """One film in both storage forms.

    Attributes:
        name: e.g. "640x360".
        video: The H.264 file.
        frames: The folder of jpgs.
        fps: Frames per second of both.
        num_frames: Their number.
    """

    name: str
    video: Path
    frames: Path
    fps: int
    num_frames: int


def write_film(
    folder: Path,
    *,
    width: int,
    height: int,
    num_frames: int,
    gop: int,
    fps: int = 30,
    source: str | os.PathLike | None = None,
    seed: int = 0,
    as_prepared: bool = False,
) -> Film:
    """Write a film of a given size.

    Args:
        folder: Where to write; must exist.
        width, height: Size in pixels; even, as H.264 needs it.
        num_frames: Length.
        gop: Frames from one H.264 key frame to the next.
        fps: Frames per second.
        source: A video or frame folder whose frames are resized and repeated; None: a drawn scene,
            a textured disc that crosses a panning texture, both with sensor noise.
        seed: Of the drawn scene.
        as_prepared: Encode as ``prepare_ava.py videos``: every second frame serves no other one.

    Returns:
        Film: the two forms.

    Raises:
        VideoError: The source cannot be read.
        ValueError: A side is odd.
    """
    if width % 2 or height % 2:
        raise UserError(f"the sides of a film must be even, got {width}x{height}")
    name = f"{width}x{height}"
    film = Film(name, folder / f"{name}.mp4", folder / name, fps, num_frames)
    film.frames.mkdir()
    scene = _drawn_scene(seed) if source is None else _resized(source, width, height)
    if source is None:
        scene = (cv2.resize(image, (width, height)) for image in scene)
    with av.open(str(film.video), "w") as container:
        options = {"g": str(gop), "preset": "veryfast"}
        if as_prepared:
            options = {"g": str(gop), "crf": "20", "sc_threshold": "0", "bf": "1"}
            options.update(b_strategy="0", tune="fastdecode")
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, image in zip(range(num_frames), scene):
            cv2.imwrite(
                str(film.frames / f"{name}_{number + 1:06d}.jpg"),
                cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
                [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return film


def _resized(source: str | os.PathLike, width: int, height: int) -> Iterator[np.ndarray]:
    """Return the frames of a video over and over, uint8 RGB (height, width, 3)."""
    with open_video(source) as reader:
        while True:
            for _, frame in reader:
                yield cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _drawn_scene(seed: int) -> Iterator[np.ndarray]:
    """Endless uint8 RGB pictures (360, 640, 3)."""
    rng = np.random.default_rng(seed)
    height, width = 360, 640
    noise = rng.integers(0, 256, (height // 8, width // 4, 3), dtype=np.uint8)
    texture = cv2.resize(noise, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(0, 9, (4, height, width, 3), dtype=np.uint8)
    number = 0
    while True:
        shift = number % width
        image = texture[:, shift : shift + width] // 2 + grain[number % len(grain)]
        centre = (7 * number % width, height // 2 + int(80 * np.sin(number / 9)))
        cv2.circle(image, centre, 70, (220, 180, 120), thickness=-1)
        cv2.circle(image, centre, 40, (60, 90, 200), thickness=9)
        yield image
        number += 1
