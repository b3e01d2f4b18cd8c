"""Detection of actions throughout a video of any length."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from torch import nn

from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.memory_store import MemoryBuilder
from tubedet.data.read_ahead import ReadAhead
from tubedet.data.video.sources import FrameSource, open_frame_source
from tubedet.data.video.video_file import VideoError
from tubedet.engine.config_checks import check_device
from tubedet.engine.config_loading import configurable_by_name
from tubedet.engine.evaluation_precision import AMP_DTYPES
from tubedet.engine.model_loading import load_model
from tubedet.errors import UserError
from tubedet.modeling import prepare_for_inference
from tubedet.modeling.memory_reader import MemoryReader

from .action_names import find_actions, names_and_origin
from .clip_inference import ClipInference, check_explains
from .detected_frames import frames_between_results
from .detected_video import DetectedVideo
from .key_frame_clips import KeyFrameClips
from .key_frame_results import DetectedFrame, KeyFrameResult
from .model_caption import model_caption
from .person_boxes import as_box_source
from .person_boxes.sources import FindPersons, check_person_boxes, opened_boxes
from .read_frames import ReadFrame, read_frames
from .remembered_detection import (
    RememberedDetection,
    check_frames_can_wait,
    remembered_persons,
)
from .waiting_clips import WaitingClips
from .whole_video import VideoResult, detect_whole_video

Source = str | os.PathLike | int | Iterable[np.ndarray] | FrameSource
_Owned = contextlib.AbstractContextManager  # closes a source that was opened here


class VideoActionDetector:
    """Runs a model on key frames at equal distances in a video.

    Each clip equals the one which :class:`~tubedet.data.ClipDatasetMapper` makes for evaluation at
    the same second of the same file (``start_second`` 0), and so does the result.

    A thread decodes and resizes ahead of the model, each frame once. Memory does not depend on the
    length of the video: the frames of a clip wait in the size of the model's input, and where
    frames are yielded, too, they wait as the decoder made them until the next key frame has been
    processed: (``batch_size`` * ``every`` + half a clip) seconds of them. At most 32 MiB more have
    been read ahead.

    A config or the name of a released model, such as "TubeR_CSN152_AVA21", makes a detector, with
    further arguments as for :meth:`from_config`.

    Example::

        detector = VideoActionDetector("TubeR_CSN152_AVA21")
        for result in detector("in.mp4", every=1.0):
            print(result.time, result.instances.action_scores.shape)

    Args:
        model: takes and returns what detectron2 models do; put into evaluation mode.
        augmentations: those of evaluation; drawn once per video.
        num_frames: T, frames of a clip.
        frame_stride: distance of neighbouring frames, counted in frames of rate ``fps``.
        fps: frames per second in which the stride counts; the rate of the video may differ.
        frame_shift: frames, counted likewise, by which the clip is late; see
            :func:`~tubedet.data.clip_sampling.clip_offsets`.
        min_decoded_side: jpg frames may be decoded for the model at a reduced size whose short
            side is at least this, pixels. None: always in full.
        amp: see :class:`~tubedet.inference.clip_inference.ClipInference`.
        compile: likewise.
        batch_size: likewise; results come when as many clips are complete.
        person_boxes: where the boxes come from that the model needs: a :class:`.PersonBoxSource`,
            :class:`~tubedet.data.person_boxes.PersonBoxes` of a file, or a function that takes a
            key frame, uint8 RGB (H, W, 3), and returns (n, 4) or (n, 5) x1, y1, x2, y2 in pixels
            and, perhaps, a score. None: for models that find persons.
        explain: columns of actions whose attention results have, see :class:`.KeyFrameResult`. It
            comes with the detections, in the same pass. :meth:`from_config` takes their names.
        remembered: arguments of a :class:`~tubedet.data.memory_store.MemoryBuilder`; a model with
            long-term context reads what is remembered, see :class:`.RememberedDetection`.
        action_names: A names of the model's actions, which results have; empty: none are known.
            :meth:`from_config` takes those of :func:`~tubedet.inference.action_names_of`.

    Attributes:
        device: where the model runs.
        explained: the columns of ``explain``.

    Raises:
        ValueError: if ``amp`` or ``batch_size`` is no such value, the device has no float16, or the
            model cannot explain these actions.
    """

    @configurable_by_name
    @configurable
    def __init__(
        self,
        *,
        model: nn.Module,
        augmentations: Sequence[T.Augmentation | T.Transform],
        num_frames: int,
        frame_stride: float,
        fps: float,
        frame_shift: float = 0,
        min_decoded_side: int | None = None,
        amp: str | None = None,
        compile: bool = False,
        batch_size: int = 1,
        person_boxes: Any = None,
        explain: Sequence[int] = (),
        remembered: dict | None = None,
        action_names: Sequence[str] = (),
    ):
        self._person_boxes = as_box_source(person_boxes)
        self._detect_clips = ClipInference(
            model, amp=amp, compile=compile, batch_size=batch_size, explain=explain
        )
        self.explained = self._detect_clips.explained
        self.model = self._detect_clips.model
        self.device = self._detect_clips.device
        self.action_names = list(action_names)
        self.batch_size = batch_size
        self.augmentations = T.AugmentationList(augmentations)
        self.num_frames = num_frames
        self.frame_stride = frame_stride
        self.frame_shift = frame_shift
        self.fps = fps
        self.min_decoded_side = min_decoded_side
        self._remembered = remembered
        self._reader: MemoryReader | None = getattr(self.model, "memory_reader", None)
        if self._reader is not None and explain:
            raise UserError("actions are explained without MODEL.MEMORY; set ENABLED to False")

    def __repr__(self) -> str:
        return (
            f"VideoActionDetector({type(self.model).__name__}, {len(self.action_names)} actions, "
            f"clips of {self.num_frames} frames, {self.device})"
        )

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        *,
        model: nn.Module | None = None,
        device: str | torch.device | None = None,
        amp: str | None = None,
        compile: bool = False,
        batch_size: int = 1,
        person_boxes: Any = None,
        explain: str | Sequence[str] = (),
    ) -> dict:
        """Return the arguments of the constructor according to a config.

        Args:
            cfg: its evaluation-time input is used.
            model: prepared for inference, and not changed; None: that of the config, see
                :func:`tubedet.load_model`.
            device: where the model runs; None: where it is, or ``MODEL.DEVICE``.
            amp, compile, batch_size, person_boxes: see the constructor.
            explain: names of actions, or one, see :func:`~tubedet.inference.action_names_of`.

        Raises:
            UserError: if there is no such device, or the model needs person boxes and there are
                none, or the other way round; for an action that the model does not know.
        """
        check_person_boxes(cfg, person_boxes)
        if device is not None:
            check_device(device)
        if model is None:
            if device is not None:
                cfg = cfg.clone()
                cfg.defrost()
                cfg.MODEL.DEVICE = str(device)
            model = load_model(cfg)
        elif device is not None:
            model = model.to(device)
        if explain:
            check_explains(model)
        evaluation = ClipDatasetMapper.from_config(cfg, is_train=False)
        sampling = ("num_frames", "frame_stride", "frame_shift", "fps")
        shared = ("augmentations", *sampling, "min_decoded_side")
        action_names = names_and_origin(cfg, model)[0]
        return {
            "model": prepare_for_inference(model, AMP_DTYPES.get(amp or "")),
            "amp": amp,
            "compile": compile,
            "batch_size": batch_size,
            "person_boxes": person_boxes,
            "explain": find_actions(action_names, explain),
            "action_names": action_names,
            "remembered": remembered_persons(cfg),
            **{key: evaluation[key] for key in shared},
        }

    def __call__(
        self,
        source: Source,
        *,
        every: float = 1.0,
        start: float = 0.0,
        end: float | None = None,
        images: bool = False,
    ) -> Iterator[KeyFrameResult]:
        """Detect at the key frames of a video.

        Key frames are the multiples of ``every`` within the part from ``start`` on and before
        ``end``; see :class:`.KeyFrameClips` for gaps and short parts.
        Clips at the edges of the part show what is beyond it.

        Args:
            source: anything that :func:`~tubedet.data.video.sources.open_frame_source` opens, or an
                opened source, which is left open.
            every: seconds between key frames.
            start: seconds since the first frame.
            end: likewise; None: to the end.
            images: hand out the key frames, too.

        Returns:
            Iterator over the results, in order.

        Raises:
            VideoError: if the source cannot be read or holds no frame of the part. Where a video is
                damaged in the middle, the results before come first.
            ValueError: if ``every``, ``start`` or ``end`` is out of range.
        """
        clips = self._key_frame_clips(every, start, end)
        return self._results(*self._opened(source), clips, images)

    def detect(
        self,
        source: Source,
        *,
        every: float = 1.0,
        start: float = 0.0,
        end: float | None = None,
        person_threshold: float = 0.5,
        score_threshold: float = 0.5,
        smoothing: float = 1.0,
        progress: Callable[[float], object] | None = None,
    ) -> VideoResult:
        """Detect in a whole video, follow its persons, and keep what was found.

        Memory grows with the number of persons at key frames: no frame is kept.

        Args:
            source: see :meth:`__call__`.
            every: likewise.
            start: likewise.
            end: likewise.
            person_threshold: lowest probability of a person who is followed and kept.
            score_threshold: lowest score of an action that results show; lower ones are kept.
            smoothing: of the action scores, see :class:`~tubedet.inference.tracking.PersonTracker`.
            progress: called with the time of every key frame.

        Raises:
            VideoError, ValueError: see :meth:`__call__`.
        """
        opened, owned = self._opened(source)
        with owned:
            return detect_whole_video(
                self(opened, every=every, start=start, end=end),
                opened,
                every=every,
                person_threshold=person_threshold,
                score_threshold=score_threshold,
                smoothing=smoothing,
                progress=progress,
            )

    def frames(
        self, source: Source, *, every: float = 1.0, start: float = 0.0, end: float | None = None
    ) -> Iterator[DetectedFrame]:
        """Detect at the key frames of a video and yields all its frames.

        Args:
            source: see :meth:`__call__`.
            every: likewise.
            start: likewise.
            end: likewise.

        Returns:
            Iterator over the frames of the part, each once, in order.

        Raises:
            VideoError, ValueError: see :meth:`__call__`.
        """
        clips = self._key_frame_clips(every, start, end)
        opened, owned = self._opened(source)
        check_frames_can_wait(opened, self._reader)
        return self._detected_frames(opened, owned, clips)

    def memory_builder(self) -> MemoryBuilder:
        """Return what chooses what is remembered of one video."""
        return MemoryBuilder(**(self._remembered or {}))

    def _key_frame_clips(self, every: float, start: float, end: float | None) -> KeyFrameClips:
        return KeyFrameClips(
            num_frames=self.num_frames,
            frame_stride=self.frame_stride,
            frame_shift=self.frame_shift,
            fps=self.fps,
            every=every,
            start=start,
            end=end,
        )

    @staticmethod
    def _opened(source: Source) -> tuple[FrameSource, contextlib.AbstractContextManager]:
        """Return the source, and what closes it if it was opened here."""
        opened = open_frame_source(source)
        return opened, contextlib.nullcontext() if opened is source else opened

    def _results(
        self, source: FrameSource, owned: _Owned, clips: KeyFrameClips, images: bool
    ) -> Iterator[KeyFrameResult]:
        steps = self._steps(source, clips, keep_frames=images, images=images)
        with owned, contextlib.closing(steps):
            for _, results in steps:
                yield from results

    def _detected_frames(
        self, source: FrameSource, owned: _Owned, clips: KeyFrameClips
    ) -> Iterator[DetectedFrame]:
        steps = self._steps(source, clips, keep_frames=True, images=False)
        with owned, contextlib.closing(steps):
            yield from frames_between_results(steps, source, clips)

    def _steps(
        self, source: FrameSource, clips: KeyFrameClips, *, keep_frames: bool, images: bool
    ) -> Generator[tuple[ReadFrame | None, list[KeyFrameResult]], None, None]:
        """Each frame as it is read with the results that it made possible; the rest at the end."""
        with opened_boxes(self._person_boxes, source, clips) as find_persons:
            yield from self._steps_with(find_persons, source, clips, keep_frames, images)

    def _steps_with(
        self,
        find_persons: FindPersons | None,
        source: FrameSource,
        clips: KeyFrameClips,
        keep_frames: bool,
        images: bool,
    ) -> Generator[tuple[ReadFrame | None, list[KeyFrameResult]], None, None]:
        remembered = None
        if (reader := self._reader) is not None:
            remembered = RememberedDetection(self._detect_clips, reader, self.memory_builder())
        waiting = WaitingClips(
            self._detect_clips,
            source,
            DetectedVideo.of_source(
                source,
                action_names=self.action_names,
                explained=self.explained,
                fps=self.fps,
                caption=model_caption(self.model),
            ),
            batch_size=self.batch_size,
            find_persons=find_persons,
            find_in_images=self._person_boxes is not None and self._person_boxes.needs_images,
            images=images,
            pin_memory=self.device.type == "cuda",
            remembered=remembered,
        )
        read = read_frames(
            source,
            clips.first_needed,
            self.augmentations,
            min_decoded_side=self.min_decoded_side,
            keep_stored=keep_frames or waiting.need_stored,
        )
        with ReadAhead(read, num_bytes=lambda frame: frame.num_bytes) as frames:
            try:
                for frame in frames:
                    stored = frame.stored if waiting.need_stored else None
                    yield frame, waiting.add(clips.add(frame.time, frame.resized, stored))
                    if clips.is_complete:
                        break
            except VideoError:
                yield None, waiting.finish()
                raise
        for clip in clips.finish():
            yield None, waiting.add([clip])
        yield None, waiting.finish()
        if waiting.num_results == 0:
            raise VideoError(
                f"{source.path or source.name}: no frame from {clips.start:.3f} s on"
                + ("" if math.isinf(clips.end) else f" and before {clips.end:.3f} s")
            )
