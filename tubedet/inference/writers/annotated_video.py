"""Drawings of the frames of a video as a video with the same time stamps and sound."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from os import PathLike

import numpy as np

from tubedet.data.video.sources import FrameSource, VideoFileSource

from .video_writer import VideoWriter

logger = logging.getLogger(__name__)


class AnnotatedVideoWriter(AbstractContextManager):
    """A video whose frames appear at the times and for as long as those of its source.

    They are shown as wide as there, too: pixels that are not square keep their aspect ratio.

    The sound of a video file or URL is copied as it is, or left out with a line in the log where
    the container cannot hold it or the source is a stream without an end. See
    :class:`~tubedet.inference.writers.VideoWriter` for how the file appears.

    Args:
        path: the file; its suffix chooses the container. An older one is replaced at the end.
        source: where the frames come from.
        end: second of the source at which the video ends; None: with the source.
    """

    def __init__(self, path: str | PathLike, source: FrameSource, *, end: float | None = None):
        self._source = source
        self._end = end
        self._start: float | None = None  # time of the first frame
        self._writer = VideoWriter(
            path, source.rate, sample_aspect_ratio=source.sample_aspect_ratio, overwrite=True
        )

    def write(self, drawing: np.ndarray, time: float) -> None:
        """Append a frame.

        Args:
            drawing: uint8 array (H, W, 3), RGB.
            time: of the frame, seconds since the first frame of the source.
        """
        if self._start is None:
            self._start = time
            if isinstance(self._source, VideoFileSource):
                self._copy_audio(self._source, time)
        self._writer.write(drawing, time - self._start)

    def finish(self, *, is_stopped: bool) -> None:
        """Complete the file, which takes its name.

        Args:
            is_stopped: whether it ends with the last frame that was written, instead of at ``end``
                or with the source.

        Raises:
            ValueError: if no frame was written.
        """
        ends = [end for end in (self._end, self._source.duration) if end is not None]
        if is_stopped or not ends or self._start is None:
            self._writer.close(cut_audio=is_stopped)
        else:
            self._writer.close(min(ends) - self._start)

    def _copy_audio(self, source: VideoFileSource, start: float) -> None:
        # A file may not state its duration either: what a browser recorded does not.
        if source.duration or os.path.isfile(source.path):
            self._writer.copy_audio(source.path, start=start, end=self._end)
        else:
            logger.warning(
                f"{source.path}: the sound is left out, for which a stream without an end would "
                "have to be read a second time"
            )

    def __exit__(self, *exc_info) -> None:
        self._writer.__exit__(*exc_info)
