"""The complete clips of a video, which wait until they fill a batch of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from detectron2.structures import Instances

from tubedet.data.video.sources import FrameSource

from .detected_video import DetectedVideo
from .key_frame_clips import KeyFrameClip
from .key_frame_results import KeyFrameResult
from .person_boxes.sources import FindPersons
from .remembered_detection import RememberedDetection

# Time and image of a key frame.
_Key = tuple[float, np.ndarray | None]


class WaitingClips:
    """Makes results of clips, batch by batch.

    Args:
        detect: the model: inputs in, instances out.
        source: the video.
        video: what results say about it.
        batch_size: clips in one pass.
        find_persons: gives the boxes of a key frame; None: the model finds persons itself.
        find_in_images: whether ``find_persons`` looks at the key frame.
        images: hand out the key frames, too.
        pin_memory: put clips where a GPU copies from by itself.
        remembered: detects instead of ``detect``, for a model with long-term context, and may hold
            results back; None: there is none.

    Attributes:
        num_results: how many there were so far.
    """

    def __init__(
        self,
        detect: Callable[[list[dict]], list[Instances]],
        source: FrameSource,
        video: DetectedVideo,
        *,
        batch_size: int,
        find_persons: FindPersons | None,
        find_in_images: bool,
        images: bool,
        pin_memory: bool,
        remembered: RememberedDetection | None = None,
    ):
        self._detect = detect
        self._source = source
        self._video = video
        self._batch_size = batch_size
        self._find_persons = find_persons
        self._find_in_images = find_in_images
        self._images = images
        self._pin_memory = pin_memory
        self._remembered = remembered
        self._waiting: list[KeyFrameClip] = []
        self.num_results = 0

    @property
    def need_stored(self) -> bool:
        """Whether clips must come with their key frame."""
        return self._images or self._find_in_images

    def add(self, clips: Iterable[KeyFrameClip]) -> list[KeyFrameResult]:
        """Let clips wait, and return the results of the batches that are full now.

        Args:
            clips: the next ones.
        """
        self._waiting += clips
        results: list[KeyFrameResult] = []
        while len(self._waiting) >= self._batch_size:
            results += self._results(self._batch_size)
        return results

    def finish(self) -> list[KeyFrameResult]:
        """Return the results of the clips that still wait, and those that were held back."""
        results = self._results(self._batch_size) if self._waiting else []
        if self._remembered is not None:
            results += self._as_results(self._remembered.finish())
        return results

    def _results(self, num_clips: int) -> list[KeyFrameResult]:
        batch = self._waiting[:num_clips]
        del self._waiting[:num_clips]
        inputs = self._inputs(batch)
        keys = [(clip.time, self._rgb(clip) if self._images else None) for clip in batch]
        if self._remembered is None:
            return self._as_results(zip(keys, self._detect(inputs)))
        return self._as_results(self._remembered.add(keys, [clip.time for clip in batch], inputs))

    def _as_results(self, detected: Iterable[tuple[_Key, Instances]]) -> list[KeyFrameResult]:
        results = []
        for (time, image), instances in detected:
            results.append(KeyFrameResult(self.num_results, time, instances, image, self._video))
            self.num_results += 1
        return results

    def _inputs(self, clips: Sequence[KeyFrameClip]) -> list[dict]:
        inputs: list[dict] = []
        for clip in clips:
            model_input = {
                "clip": self._channels_first(clip.clip),
                "height": self._source.height,
                "width": self._source.width,
                "video_id": self._source.name,
                "timestamp": clip.time,
            }
            if self._find_persons is not None:
                image = self._rgb(clip) if self._find_in_images else None
                persons = self._find_persons(clip.time, image)
                model_input["proposals"] = persons.instances(*clip.clip.shape[1:3])
            inputs.append(model_input)
        return inputs

    def _rgb(self, clip: KeyFrameClip) -> np.ndarray:
        return np.ascontiguousarray(self._source.rgb(clip.key_frame))

    def _channels_first(self, frames: np.ndarray) -> torch.Tensor:
        """Return (T, H, W, 3) as (3, T, H, W)."""
        pixels = frames.transpose(3, 0, 1, 2)
        clip = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._pin_memory)
        np.copyto(clip.numpy(), pixels)
        return clip
