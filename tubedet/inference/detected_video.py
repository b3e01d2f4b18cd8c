"""What the results of one video share, and its frames, read again when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tubedet.data.video.container import MAX_PIXELS, VideoError
from tubedet.data.video.reader import open_video
from tubedet.data.video.sources import FrameFolderSource, FrameSource, VideoFileSource
from tubedet.files.urls import is_url


@dataclass(frozen=True)
class DetectedVideo:
    """What the results of one video share. It holds no frame.

    Attributes:
        name: of the video, as in the files of results.
        path: absolute path of the file or folder; None if its frames come only once, as those of
            a camera, a URL or a program.
        action_names: A names; empty if none are known.
        explained: the 0-based actions whose attention results have.
        person_threshold: lowest probability of the persons that results show and give out.
        score_threshold: lowest score of the actions that results show.
        fps: rate of the clips, whose key frames :meth:`frame` returns.
        folder_fps: rate of a folder of frames.
        max_pixels: largest frame of a file.
        duration: of the video, seconds, as its file says; None: not known.
        caption: what pictures say of the model, see :func:`.model_caption`; None: nothing.
    """

    name: str
    path: str | None = None
    action_names: tuple[str, ...] = field(default=(), repr=False)
    explained: tuple[int, ...] = ()
    person_threshold: float = 0.5
    score_threshold: float = 0.5
    fps: float = 30.0
    folder_fps: float = 30.0
    max_pixels: int = MAX_PIXELS
    duration: float | None = None
    caption: str | None = None

    @classmethod
    def of_source(
        cls,
        source: FrameSource,
        *,
        action_names: Sequence[str] = (),
        explained: Sequence[int] = (),
        fps: float = 30.0,
        caption: str | None = None,
    ) -> DetectedVideo:
        """Describe an open source.

        Args:
            source: of the frames.
            action_names: see the attributes.
            explained: likewise.
            fps: likewise.
            caption: likewise.
        """
        shared: dict[str, Any] = {
            "action_names": tuple(action_names),
            "explained": tuple(explained),
            "fps": fps,
            "duration": source.duration,
            "caption": caption,
        }
        if isinstance(source, FrameFolderSource):
            path = os.path.abspath(source.path)
            return cls(source.name, path, folder_fps=float(source.rate), **shared)
        if isinstance(source, VideoFileSource) and not is_url(source.path):
            max_pixels = max(MAX_PIXELS, source.height * source.width)
            return cls(source.name, os.path.abspath(source.path), max_pixels=max_pixels, **shared)
        return cls(source.name, **shared)

    def frame(self, time: float) -> np.ndarray:
        """Read the frame at a time from the video.

        Args:
            time: seconds since the first frame.

        Returns:
            uint8 (H, W, 3), RGB, upright.

        Raises:
            VideoError: if the video is gone, cannot be read, or gave its frames only once.
        """
        if self.path is None:
            raise VideoError(
                f"{self.name}: no file to read its frames from again; give the picture as image=, "
                "or detect with images=True"
            )
        with open_video(
            self.path, folder_fps=self.folder_fps, max_pixels=self.max_pixels
        ) as reader:
            return reader.read(np.array([time]), tick=1 / self.fps)[0]
