"""Calling ffmpeg, and measuring what it wrote."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import av.error

from tubedet.data.video.pyav_versions import open_for_reading
from tubedet.data.video.reader import FrameFolderReader
from tubedet.data.video.video_file import VideoError, VideoFileReader

from .batch import PreparationError


@dataclass(frozen=True)
class Measurements:
    """What a stored video is.

    Attributes:
        num_frames: number of its frames.
        duration: from the begin of the first frame to the end of the last one, seconds.
        height, width: of the upright frames, pixels.
        fps: average frame rate.
    """

    num_frames: int
    duration: float
    height: int
    width: int
    fps: float

    def as_dict(self) -> dict:
        """Return the same with json types."""
        return {**asdict(self), "duration": round(self.duration, 3)}


class Ffmpeg:
    """The ffmpeg program.

    Args:
        program: its name or path.

    Raises:
        PreparationError: it does not exist or does not run.

    Attributes:
        version: first line of what ``ffmpeg -version`` prints.
    """

    def __init__(self, program: str = "ffmpeg"):
        path = shutil.which(program)
        if path is None:
            raise PreparationError(
                f"--ffmpeg {program}: no such program; install ffmpeg (Debian: apt install "
                "ffmpeg) or give its path"
            )
        self._program = path
        lines = self._call(["-version"]).stdout.splitlines()
        self.version = lines[0].strip() if lines else ""

    def run(self, arguments: list[str]) -> None:
        """Run it on one video; what is in the way of the output is overwritten.

        Args:
            arguments: all after the general options.

        Raises:
            PreparationError: ffmpeg failed; with its last message.
        """
        self._call(["-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments])

    def _call(self, arguments: list[str]) -> subprocess.CompletedProcess:
        try:
            return subprocess.run(
                [self._program, *arguments],
                check=True,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
            )
        except subprocess.CalledProcessError as error:
            said = (error.stderr or "").strip().splitlines() or ["no message"]
            raise PreparationError(
                f"ffmpeg failed with status {error.returncode}: {said[-1]}"
            ) from error
        except OSError as error:
            raise PreparationError(f"{self._program}: {error.strerror or error}") from error


def measure_video(path: Path) -> Measurements:
    """Measure a video by its packets, and decode its first and last frame.

    Args:
        path: the file.

    Raises:
        VideoError: it cannot be read or decoded.
    """
    begins, ends = [], []
    with VideoFileReader(path) as reader:
        try:
            with open_for_reading(f"file:{path}") as container:
                stream = container.streams.best("video")
                for packet in container.demux(stream):
                    if packet.pts is not None:
                        begins.append(packet.pts * stream.time_base)
                        ends.append((packet.pts + (packet.duration or 0)) * stream.time_base)
        except av.error.FFmpegError as error:
            raise VideoError(f"{path}: {error.strerror or error}") from error
        if not begins:
            raise VideoError(f"{path}: its frames carry no time stamps; remux it to mp4 or mkv")
        reader.read([float(max(begins) - min(begins))])
        return Measurements(
            num_frames=len(begins),
            duration=float(max(ends) - min(begins)),
            height=reader.height,
            width=reader.width,
            fps=reader.fps,
        )


def measure_frames(folder: Path, fps: float) -> Measurements:
    """Measure a frame folder, and decode its first and last frame.

    Args:
        folder: the folder.
        fps: frame rate at which it was written.

    Raises:
        VideoError: frames are missing or cannot be read.
    """
    with FrameFolderReader(folder, fps=fps) as reader:
        reader.read([(reader.num_frames - 1) / fps])
        return Measurements(
            reader.num_frames, reader.duration, reader.height, reader.width, reader.fps
        )
