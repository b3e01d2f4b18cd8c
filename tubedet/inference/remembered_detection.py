"""Detection in a video with what was seen, and will be seen, around each key frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import nn

from tubedet.data.memory_store import Memory, MemoryBuilder, joined
from tubedet.data.video.sources import FrameSource
from tubedet.engine.model_loading import load_model
from tubedet.errors import UserError
from tubedet.modeling.memory_reader import OFFSETS, VECTORS, MemoryReader
from tubedet.modeling.memory_weights import base_fingerprint
from tubedet.modeling.meta_arch.clip_model import ClipModel

from .clip_inference import ClipInference

# Seconds by which sums of rounded numbers may differ.
_ROUNDING = 1e-3


def remembered_persons(cfg: CfgNode) -> dict:
    """Return the arguments of a :class:`~tubedet.data.memory_store.MemoryBuilder`.

    Args:
        cfg: the config.
    """
    memory = cfg.MODEL.MEMORY
    return {
        "persons_per_second": memory.PERSONS_PER_SECOND,
        "person_thresh": memory.PERSON_THRESH,
    }


def check_frames_can_wait(source: FrameSource, reader: MemoryReader | None) -> None:
    """Refuse to hold back frames that come once until their results are known.

    Args:
        source: the video.
        reader: of the model; None: nothing waits for what comes after.

    Raises:
        UserError: if the reader looks at what comes after a frame, and the source is live.
    """
    if reader is not None and reader.seconds_after and not source.is_repeatable:
        raise UserError(
            f"frames of {source.name} come once, and would wait {reader.window} s for what is seen "
            "after them; set MODEL.MEMORY.PAST_ONLY to True"
        )


def model_to_remember(cfg: CfgNode, device: str) -> nn.Module:
    """Load a model whose detections have what memories are made of.

    Args:
        cfg: of a model without long-term context.
        device: where it runs.

    Returns:
        the model; its ``fingerprint`` identifies its weights.

    Raises:
        UserError: if the architecture knows no memories.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    model = load_model(cfg)
    if not isinstance(model, ClipModel) or model.person_only:
        raise UserError(
            f"{type(model).__name__} has no actions to remember; choose an architecture of "
            "tubedet, with MODEL.PERSON_ONLY False"
        )
    model.gives_features = True
    model.fingerprint = base_fingerprint(model)
    return model


class RememberedDetection:
    """Observes the clips of a pass in their order, and detects when their memory is complete.

    The memory is that which ``tubedet build-memory`` writes of the same key frames. Where later
    seconds are read, results come so much later; without them they come at once. Only the memory
    that is still needed is kept.

    Args:
        detect_clips: runs a model with a memory reader.
        reader: of the model.
        builder: chooses what is remembered.
    """

    def __init__(self, detect_clips: ClipInference, reader: MemoryReader, builder: MemoryBuilder):
        self._detect_clips = detect_clips
        self._reader = reader
        self._builder = builder
        self._memories: deque[Memory] = deque()
        self._waiting: deque[tuple[float, Any, Any]] = deque()

    def add(
        self, keys: Sequence[Any], times: Sequence[float], inputs: Sequence[dict]
    ) -> Iterator[tuple[Any, Instances]]:
        """Take the next clips.

        Args:
            keys: come back with the results.
            times: of the key frames, ascending, seconds.
            inputs: of the model, at most a batch.

        Yields:
            keys and results that are complete now.
        """
        observations = self._detect_clips.observe(inputs)
        alone = self._detect_clips.conclude(observations, [{}] * len(observations))
        for key, time, observation, seen in zip(keys, times, observations, alone):
            chosen = self._builder.chosen(time, seen.action_features, seen.scores)
            if chosen is not None and len(chosen.times):
                self._memories.append(chosen)
            self._waiting.append((time, key, observation))
        yield from self._complete(times[-1] - self._reader.seconds_after)

    def finish(self) -> Iterator[tuple[Any, Instances]]:
        """Yield the rest, after the last clip."""
        yield from self._complete(float("inf"))

    def _complete(self, until: float) -> Iterator[tuple[Any, Instances]]:
        while self._waiting and self._waiting[0][0] <= until + _ROUNDING:
            time, key, observation = self._waiting.popleft()
            earliest = time - self._reader.window - _ROUNDING
            while self._memories and float(self._memories[0].times[0]) < earliest:
                self._memories.popleft()
            memory = joined([*self._memories], self._reader.feature_dim)
            around = {VECTORS: memory.vectors, OFFSETS: (memory.times - time).float()}
            (instances,) = self._detect_clips.conclude([observation], [around])
            instances.remove("action_features")
            yield key, instances
