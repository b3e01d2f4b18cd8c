"""Detection of actions throughout a video file."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Instances
from torch import nn

from tubedet.data.clip_sampling import TIME_TOLERANCE
from tubedet.data.dataset_mapper import AVADatasetMapper
from tubedet.data.frame_stream import ClipWindow
from tubedet.data.video_file import VideoFileReader

from .model_loading import load_model


@dataclass(frozen=True)
class DetectedFrame:
    """A frame of a video and what was detected at the key frame nearest to it.

    Attributes:
        index: number of the frame in the order of presentation, from 0.
        time: seconds since the first frame.
        image: uint8 array (H, W, 3), RGB, upright.
        key_time: time of the nearest key frame, seconds since the first frame.
        instances: the model's output for that key frame, on the CPU, boxes in pixels of ``image``;
            the same object for all frames of a key frame.
    """

    index: int
    time: float
    image: np.ndarray
    key_time: float
    instances: Instances


class VideoActionDetector:
    """Runs a model on key frames at equal distances in a video and yields all frames.

    Each clip equals the one which :class:`~tubedet.data.AVADatasetMapper` makes for evaluation at
    the same second of the same file (``start_second`` 0), and so does the result.

    Every frame is decoded once. Memory does not depend on the length of the video: frames in full
    size wait until their nearest key frame has been processed, which takes half a distance of key
    frames plus the second half of a clip; clip frames wait in the size of the model's input.

    Example::

        detector = VideoActionDetector(cfg)
        for frame in detector("in.mp4"):
            print(frame.index, frame.instances.action_scores.shape)
    """

    @configurable
    def __init__(
        self,
        *,
        model: nn.Module,
        augmentations: Sequence[T.Augmentation | T.Transform],
        num_frames: int,
        frame_stride: float,
        fps: float,
    ):
        """
        Args:
            model: takes and returns what detectron2 models do; put into evaluation mode.
            augmentations: those of evaluation; drawn once per video.
            num_frames: T, frames of a clip.
            frame_stride: distance of neighbouring frames, counted in frames of rate ``fps``.
            fps: frames per second in which the stride counts; the rate of the video may differ.
        """
        self.model = model.eval()
        self.augmentations = T.AugmentationList(augmentations)
        self.num_frames = num_frames
        self.frame_stride = frame_stride
        self.fps = fps

    @classmethod
    def from_config(cls, cfg: CfgNode, *, model: nn.Module | None = None) -> dict:
        """The arguments of the constructor according to a config.

        Args:
            cfg: its evaluation-time input is used.
            model: None: that of the config, see :func:`tubedet.load_model`.
        """
        evaluation = AVADatasetMapper.from_config(cfg, is_train=False)
        shared = ("augmentations", "num_frames", "frame_stride", "fps")
        return {
            "model": load_model(cfg) if model is None else model,
            **{key: evaluation[key] for key in shared},
        }

    def __call__(
        self, video_path: str | os.PathLike, *, every: float = 1.0
    ) -> Iterator[DetectedFrame]:
        """Detects throughout a video.

        Key frames are the multiples of ``every`` within the video which are nearest to a frame.

        Args:
            video_path: any video file that PyAV reads.
            every: seconds between key frames.

        Returns:
            Iterator over all frames of the video, in order.

        Raises:
            VideoError: if the file cannot be read or holds no frame.
            ValueError: if ``every`` is not a positive number.
        """
        if not (every > 0 and math.isfinite(every)):
            raise ValueError(f"every must be a positive number of seconds, got {every}")
        return self._detected_frames(VideoFileReader(video_path), every)

    def detect(self, clip: np.ndarray, *, height: int, width: int, **names) -> Instances:
        """Runs the model on one clip.

        Args:
            clip: uint8 array (T, H, W, 3), RGB, in the size of the model's input.
            height, width: size in which boxes are wanted, pixels.
            **names: further entries of the model's input, such as ``video_id``.

        Returns:
            The model's output on the CPU.
        """
        channels_first = np.ascontiguousarray(clip.transpose(3, 0, 1, 2))
        model_input = {"clip": torch.from_numpy(channels_first), "height": height, "width": width}
        with torch.inference_mode():
            (output,) = self.model([{**model_input, **names}])
        return output["instances"].to("cpu")

    def _detected_frames(self, reader: VideoFileReader, every: float) -> Iterator[DetectedFrame]:
        with reader:
            one_pass = _Pass(self, every, Path(reader.path).stem)
            for index, (time, image) in enumerate(reader):
                yield from one_pass.add(index, time, np.ascontiguousarray(image))
            yield from one_pass.finish()


class _Pass:
    """One pass over a video: the frames that are decoded but not yet yielded."""

    def __init__(self, detector: VideoActionDetector, every: float, video_id: str):
        self._detector = detector
        self._every = every
        self._video_id = video_id
        self._window = ClipWindow(
            num_frames=detector.num_frames, frame_stride=detector.frame_stride, fps=detector.fps
        )
        self._resize: T.Transform | None = None
        self._waiting: deque[tuple[int, float, np.ndarray]] = deque()
        # Key frame k is at k * every. The latest one that was processed, its result, the next one.
        self._key, self._instances, self._next_key = -1, None, 0

    def add(self, index: int, time: float, image: np.ndarray) -> Iterator[DetectedFrame]:
        """Takes the next frame and yields those whose key frame has been processed."""
        while not self._window.needs(time, key_time=self._next_key * self._every):
            yield from self._process_key_frame(image.shape[:2], time)
        if self._resize is None:
            self._resize = self._detector.augmentations(T.AugInput(image))
        self._window.append(time, self._resize.apply_image(image))
        self._waiting.append((index, time, image))
        yield from self._frames_up_to(self._key)

    def finish(self) -> Iterator[DetectedFrame]:
        """Yields the rest after the last frame; there is no key frame behind that one."""
        if self._waiting:
            _, end, image = self._waiting[-1]
        while self._waiting:
            if self._next_key * self._every <= end + TIME_TOLERANCE:
                yield from self._process_key_frame(image.shape[:2], end)
            else:
                yield from self._frames_up_to(self._next_key)

    def _process_key_frame(self, size: tuple[int, int], time: float) -> Iterator[DetectedFrame]:
        self._key = self._next_key
        key_time = self._key * self._every
        self._instances = self._detector.detect(
            self._window.clip(key_time),
            height=size[0],
            width=size[1],
            video_id=self._video_id,
            timestamp=key_time,
        )
        yield from self._frames_up_to(self._key)
        # In a gap between frames nothing is to be detected. Only the key frame before the nearest
        # one of the next frame is taken along: it stands in if the video ends before that one.
        if self._waiting:
            time = self._waiting[0][1]
        self._next_key = max(self._key + 1, self._nearest_key(time) - 1)
        self._window.forget_before(self._next_key * self._every)

    def _frames_up_to(self, key: int) -> Iterator[DetectedFrame]:
        while self._waiting and self._nearest_key(self._waiting[0][1]) <= key:
            key_time = self._key * self._every
            yield DetectedFrame(*self._waiting.popleft(), key_time, self._instances)

    def _nearest_key(self, time: float) -> int:
        return math.floor(time / self._every + 0.5)
