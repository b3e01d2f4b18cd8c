"""From a video to all of its results in one pass."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from detectron2.structures import Instances

from tubedet.data.video.container import VideoError
from tubedet.data.video.sources import FrameSource, open_frame_source
from tubedet.inference.writers.annotated_video import AnnotatedVideoWriter
from tubedet.inference.writers.coco_json import CocoJsonWriter
from tubedet.inference.writers.csv_writer import PredictionCsvWriter
from tubedet.inference.writers.events_csv import EventsCsvWriter
from tubedet.inference.writers.json_lines import JsonLinesWriter
from tubedet.inference.writers.key_frame_writer import KeyFrameWriter
from tubedet.inference.writers.memory_file import MemoryWriter

from .frame_drawer import DrawingOptions, FrameDrawer
from .model_caption import model_caption
from .tracking import PersonTracker, TrackedFrame, tracked_frames
from .video_detector import DetectedFrame, KeyFrameResult, Source, VideoActionDetector

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoOutputs:
    """The files to write; None: not this one.

    Attributes:
        video: annotated video; the suffix chooses the container.
        predictions: csv of what the model said, see :class:`PredictionCsvWriter`.
        json_lines: see :class:`JsonLinesWriter`.
        coco: see :class:`CocoJsonWriter`.
        events: see :class:`EventsCsvWriter`; actions from ``confidence_threshold`` on.
        memory: see :class:`MemoryWriter`; for a model whose detections have features.
    """

    video: str | PathLike | None = None
    predictions: str | PathLike | None = None
    json_lines: str | PathLike | None = None
    coco: str | PathLike | None = None
    events: str | PathLike | None = None
    memory: str | PathLike | None = None


class VideoTimeError(VideoError):
    """The work at a video takes longer than it may."""


@dataclass
class VideoSummary:
    """What was found.

    Attributes:
        num_frames: frames that were drawn; 0 if none was to be.
        num_key_frames: key frames that were written.
        num_persons: persons with an id.
        time: up to which the source was processed, seconds since its first frame.
        is_stopped: whether somebody ended it early.
        num_damaged: frames that could not be decoded, or not as a whole.
    """

    num_frames: int = 0
    num_key_frames: int = 0
    num_persons: int = 0
    time: float = 0.0
    is_stopped: bool = False
    num_damaged: int = 0


def write_video_results(
    detector: VideoActionDetector,
    source: Source,
    outputs: VideoOutputs,
    *,
    action_names: Sequence[str],
    name: str | None = None,
    every: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    confidence_threshold: float = 0.5,
    person_threshold: float = 0.5,
    smoothing: float = 1.0,
    drawing: DrawingOptions | None = None,
    max_minutes: float | None = None,
    show: Callable[[np.ndarray], bool] | None = None,
    progress: Callable[[float], object] | None = None,
    stop: Callable[[], bool] | None = None,
) -> VideoSummary:
    """Detect, follow, draw and write.

    The annotated video has the frames, the time stamps and the sound of the source. Each file takes
    its name at the end, when all of it is written, in place of an older one; after an exception
    before the end none appears. Memory does not grow with the length of the video. A warning says
    how many frames were damaged. Actions which the detector explains are drawn as heat, see
    :class:`~tubedet.inference.drawing.ActionVisualizer`. Where the checkpoint says that the model
    was trained on the toy data set, or none was loaded, the drawings say so.

    Args:
        detector: the model.
        source: whatever :func:`~tubedet.data.video.sources.open_frame_source` takes; one that is
            open already stays so.
        outputs: the files to write. If it is no video and nothing is shown, only the key frames
            are looked at, which is faster.
        action_names: A names; name k is that of the model's action k.
        name: of the video in the files; None: that of the source.
        every: seconds between key frames.
        start: second of the source at which to begin.
        end: second at which to end; None: with the source.
        confidence_threshold: lowest score of an action that is drawn, or an event.
        person_threshold: lowest probability of a person who is tracked and drawn.
        smoothing: see :class:`~tubedet.inference.tracking.PersonTracker`.
        drawing: trails, blur and ground truth.
        max_minutes: longest time that the work may take; None: any.
        show: called with every drawing, uint8 RGB (H, W, 3); answers whether more is wanted.
        progress: called with the time of every frame, or of every key frame if nothing is drawn.
        stop: asked after each of them whether to end here. What was written so far is finished
            like a whole.

    Returns:
        VideoSummary: the numbers.

    Raises:
        VideoError: if the source cannot be read or holds no frame.
        VideoTimeError: if it takes longer than ``max_minutes``.
        OSError, ValueError: if an output cannot be written or an argument is wrong.
    """
    summary = VideoSummary()
    over = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    with contextlib.ExitStack() as stack:
        frames = open_frame_source(source)
        if frames is not source:
            stack.enter_context(frames)
        stack.callback(_warn_of_damage, frames)
        name = name or frames.name
        opened = _key_frame_writers(outputs, name, action_names, detector)
        writers = [stack.enter_context(writer) for writer in opened]
        if outputs.events is not None:
            events = EventsCsvWriter(
                outputs.events,
                name,
                action_names,
                every=every,
                duration=frames.duration,
                min_score=confidence_threshold,
            )
            writers.append(stack.enter_context(events))
        video = None
        if outputs.video is not None:
            video = stack.enter_context(AnnotatedVideoWriter(outputs.video, frames, end=end))
        is_drawn = video is not None or show is not None
        detect: Callable[..., Any] = detector.frames if is_drawn else detector
        detected = stack.enter_context(
            contextlib.closing(detect(frames, every=every, start=start, end=end))
        )
        tracker = PersonTracker.for_key_frames(every, person_threshold, smoothing=smoothing)
        drawer = FrameDrawer(
            action_names,
            drawing or DrawingOptions(),
            score_threshold=confidence_threshold,
            max_missed=tracker.max_missed,
            explained=detector.explained,
            caption=model_caption(detector.model),
        )
        steps = _frame_steps(detected, tracker) if is_drawn else _key_steps(detected, tracker)
        for step in steps:
            for result, persons in step.keys:
                for writer in writers:
                    writer.write(result, persons)
            summary.num_key_frames += len(step.keys)
            summary.time = step.time
            is_wanted = True
            if step.tracked is not None:
                picture = drawer.draw(step.tracked)
                if video is not None:
                    video.write(picture, step.time)
                summary.num_frames += 1
                is_wanted = show is None or show(picture)
            if time.monotonic() > over:
                raise VideoTimeError(
                    f"{frames.path or frames.name}: takes longer than {max_minutes:g} minutes"
                )
            if progress is not None:
                progress(step.time)
            if not is_wanted or (stop is not None and stop()):
                summary.is_stopped = True
                break
        if video is not None:
            video.finish(is_stopped=summary.is_stopped)
        summary.num_damaged = frames.num_damaged
    summary.num_persons = tracker.num_persons
    return summary


def _warn_of_damage(source: FrameSource) -> None:
    if message := source.damage_message():
        logger.warning(message)


def _key_frame_writers(
    outputs: VideoOutputs, name: str, action_names: Sequence[str], detector: VideoActionDetector
) -> Iterator[KeyFrameWriter | MemoryWriter]:
    """Open the files with one entry per key frame, each when it is asked for."""
    if outputs.predictions is not None:
        yield PredictionCsvWriter(outputs.predictions, name)
    if outputs.json_lines is not None:
        yield JsonLinesWriter(outputs.json_lines, name, action_names)
    if outputs.coco is not None:
        yield CocoJsonWriter(outputs.coco, name, action_names)
    if outputs.memory is not None:
        fingerprint: Any = detector.model.fingerprint
        yield MemoryWriter(outputs.memory, detector.memory_builder(), fingerprint)


class _Step(NamedTuple):
    """A frame with its persons, or only its time, and the key frames that came with it."""

    time: float
    keys: Sequence[tuple[KeyFrameResult, Instances]]
    tracked: TrackedFrame | None = None


def _frame_steps(frames: Iterable[DetectedFrame], tracker: PersonTracker) -> Iterator[_Step]:
    for tracked in tracked_frames(frames, tracker):
        yield _Step(tracked.frame.time, tracked.keys, tracked)


def _key_steps(results: Iterable[KeyFrameResult], tracker: PersonTracker) -> Iterator[_Step]:
    for result in results:
        yield _Step(result.time, [(result, tracker.update(result))])
