"""What the page does with one video."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import cast

from tubedet.data import VideoError
from tubedet.inference import VideoActionDetector, VideoOutputs, write_video_results
from tubedet.inference.device_faults import device_faults_told_apart
from tubedet.inference.drawing.action_visualizer import identity_colour
from tubedet.inference.video_results import VideoTimeError

from .kept_detections import KeptDetections
from .timeline import action_spans, draw_timeline
from .upload_checks import UploadError, check_upload, open_upload

_BITS_PER_PIXEL = 0.1  # of annotated videos, as H.264
_SPARE_BYTES = 16 << 20  # for the csv and the json lines


@dataclass(frozen=True)
class AnalyzedVideo:
    """Results of a video.

    Attributes:
        video: annotated mp4.
        files: the csv and the json lines.
        timeline: SVG element.
        summary: a sentence.
    """

    video: Path
    files: list[Path]
    timeline: str
    summary: str


class VideoAnalysis:
    """Checks a video, detects in it and makes everything that the page shows.

    Args:
        detector: the model.
        action_names: A names; name k is that of the model's action k.
        work_folder: where results are made.
        max_megabytes: see above.
        max_seconds: see above.
        max_minutes: longest time that a video may take.
        free_bytes: asked before each job how much room there is for its results; None: that of
            the disk.
        keep_seconds: age at which the detections of a video are forgotten; until then it is drawn
            with another threshold or smoothing without the model.
        video_selector: CSS selector of the video that a click in the timeline moves.

    Attributes:
        max_megabytes: largest file that is accepted, in units of 2^20 bytes.
        max_seconds: longest video.
    """

    def __init__(
        self,
        detector: VideoActionDetector,
        action_names: Sequence[str],
        *,
        work_folder: str | PathLike,
        max_megabytes: float,
        max_seconds: float,
        max_minutes: float = 60.0,
        free_bytes: Callable[[], float] | None = None,
        keep_seconds: float = 1800.0,
        video_selector: str = "video",
    ):
        self.detector = detector
        self.action_names = action_names
        self.work_folder = work_folder
        self.max_megabytes = max_megabytes
        self.max_seconds = max_seconds
        self.max_minutes = max_minutes
        self.free_bytes = free_bytes or (lambda: shutil.disk_usage(work_folder).free)
        self.video_selector = video_selector
        self._detections = KeptDetections(detector, keep_seconds=keep_seconds)

    @contextlib.contextmanager
    def run(
        self,
        path: str | PathLike,
        *,
        threshold: float,
        every: float,
        smoothing: float = 1.0,
        progress: Callable[[float], None] = lambda fraction: None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[AnalyzedVideo]:
        """Work on a video; the files exist until the block ends.

        Args:
            path: the video.
            threshold: lowest score of an action that is shown.
            every: seconds between key frames.
            smoothing: see :class:`~tubedet.inference.tracking.PersonTracker`.
            progress: called with the fraction that is done, in [0, 1].
            stop: asked after each frame whether to end there.

        Yields:
            AnalyzedVideo: the results.

        Raises:
            UploadError: if the file is not accepted, turns out to be damaged, or takes too long.
            UserError: if it needs more memory than the device has.
            BrokenDeviceError: if the device works no more.
        """
        detector = self._detections.detector_of((str(path), every))
        with tempfile.TemporaryDirectory(dir=self.work_folder) as folder:
            path = _kept(Path(path), Path(folder, "upload"))
            duration = check_upload(
                path, max_megabytes=self.max_megabytes, max_seconds=self.max_seconds
            )
            self._check_room(path, duration)
            results = Path(folder) / path.stem
            video, csv, jsonl = (results.with_suffix(s) for s in (".mp4", ".csv", ".jsonl"))
            try:
                with (
                    device_faults_told_apart(self.detector.device),
                    open_upload(path) as source,
                ):
                    summary = write_video_results(
                        cast(VideoActionDetector, detector),
                        source,
                        VideoOutputs(video=video, predictions=csv, json_lines=jsonl),
                        action_names=self.action_names,
                        every=every,
                        end=self.max_seconds + 1,
                        confidence_threshold=threshold,
                        smoothing=smoothing,
                        stop=stop,
                        max_minutes=self.max_minutes,
                        progress=lambda time: progress(min(time / duration, 1.0)),
                    )
            except VideoTimeError as error:
                raise UploadError(
                    f"{path.name} takes longer than {self.max_minutes:g} minutes. Look less often, "
                    "or cut out the part that matters."
                ) from error
            except VideoError as error:
                raise UploadError(
                    f"{path.name} is damaged and cannot be read to its end."
                ) from error
            key_frames = [json.loads(line) for line in jsonl.read_text("utf-8").splitlines()]
            spans = action_spans(key_frames, every=every, duration=duration, threshold=threshold)
            if spans:
                timeline = draw_timeline(
                    spans,
                    duration=duration,
                    color=_css_colour,
                    video_selector=self.video_selector,
                )
            else:
                timeline = (
                    f'<p class="hint">Nobody does anything with a score of {threshold:.2f} or '
                    "more. Lower the threshold to see less certain actions.</p>"
                )
            yield AnalyzedVideo(
                video,
                [csv, jsonl],
                timeline,
                (f"Stopped at {summary.time:.1f} s: " if summary.is_stopped else "")
                + f"{_plural(summary.num_key_frames, 'key frame')}, "
                f"{_plural(summary.num_persons, 'person')} found, "
                f"{len(spans)} with actions above the threshold."
                + (
                    f" {_plural(summary.num_damaged, 'damaged frame')} left out or shown in part."
                    if summary.num_damaged
                    else ""
                ),
            )

    def is_known(self, path: str | PathLike, *, every: float) -> bool:
        """Whether :meth:`run` would not need the model.

        Args:
            path: the video.
            every: seconds between key frames.
        """
        return self._detections.holds((str(path), every))

    def _check_room(self, path: Path, duration: float) -> None:
        """Refuse a job whose results would not fit, before it begins."""
        with open_upload(path) as source:
            pixels, rate = source.height * source.width, float(source.rate)
        drawn = max(path.stat().st_size, pixels * rate * duration * _BITS_PER_PIXEL / 8)
        # The results are made in one place and handed out from another.
        if self.free_bytes() < 2 * drawn + _SPARE_BYTES:
            raise UploadError(
                "The page has no room for the results. Try again in some minutes, or take a "
                "shorter or smaller video."
            )


def _kept(path: Path, folder: Path) -> Path:
    """Give the file another path, where it stays although uploads are deleted by age."""
    folder.mkdir()
    try:
        os.link(path, folder / path.name)
    except FileNotFoundError as error:
        raise UploadError(
            f"{path.name} was deleted while it waited for its turn; upload it again."
        ) from error
    except OSError:  # not every file system has links
        shutil.copyfile(path, folder / path.name)
    return folder / path.name


def _css_colour(person_id: int) -> str:
    red, green, blue = (round(255 * channel) for channel in identity_colour(person_id))
    return f"rgb({red}, {green}, {blue})"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
