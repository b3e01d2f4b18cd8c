"""Whether an exported file computes what the detector does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tubedet.layers import without_tf32
from tubedet.modeling.meta_arch import ClipDetector

from .clip_program import OUTPUTS
from .trace import MIN_SIDE, ClipShape

Run = Callable[[torch.Tensor], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Deviation:
    """Largest differences between two ways to compute the same.

    Attributes:
        shape: of the clips, (B, 3, T, H, W).
        boxes: as a fraction of the clip.
        scores, action_scores, all_action_scores: of probabilities.
    """

    shape: tuple[int, ...]
    boxes: float
    scores: float
    action_scores: float
    all_action_scores: float

    @property
    def largest(self) -> float:
        """The largest of all; NaN if any is."""
        return max((getattr(self, name) for name in OUTPUTS), key=lambda x: (x != x, x))


def verification_shapes(shape: ClipShape, short_side: int) -> list[tuple[int, tuple[int, int]]]:
    """Batches and sizes (H, W) to compare: landscape, portrait with odd sides, small and square.

    Args:
        shape: of the program's clips; axes that it fixes do not vary.
        short_side: pixels, in which the model is used.
    """
    short = max(short_side, MIN_SIDE)
    sizes = [(short, short * 4 // 3), (short * 5 // 4 | 1, short + 1 | 1), (short // 2, short // 2)]
    if shape.size:
        sizes = [shape.size] * len(sizes)
    cases = []
    for batch, size in enumerate(sizes, start=1):
        if not shape.size:
            height, width = (max(x - x % shape.multiple, MIN_SIDE) for x in size)
            size = shape.rounded_up((height, width))
        cases.append((shape.batch or batch, size))
    return list(dict.fromkeys(cases))


def compare(
    run: Run,
    model: ClipDetector,
    shape: ClipShape,
    cases: Sequence[tuple[int, tuple[int, int]]],
    seed: int = 0,
) -> list[Deviation]:
    """Compare a program with the detections of a model on random clips, without TF32.

    Args:
        run: takes clips uint8 (B, 3, T, H, W), returns what :class:`ClipProgram` does.
        model: the detector, in evaluation mode.
        shape: of the clips.
        cases: batches and sizes, see :func:`verification_shapes`.
        seed: of the clips.

    Returns:
        one for each case.
    """
    generator = torch.Generator().manual_seed(seed)
    with without_tf32():
        return [
            _deviation(run, model, shape.random_clips(batch, size, generator))
            for batch, size in cases
        ]


def _deviation(run: Run, model: ClipDetector, clips: torch.Tensor) -> Deviation:
    expected = detections(model, clips)
    found = run(clips)
    largest = {}
    for name, one, other in zip(OUTPUTS, found, expected, strict=True):
        if one.shape != other.shape:
            # No broadcasting: another shape is another result.
            largest[name] = float("inf")
        else:
            largest[name] = (one.cpu() - other.cpu()).abs().max().item()
    return Deviation(tuple(clips.shape), **largest)


def detections(model: ClipDetector, clips: torch.Tensor) -> list[torch.Tensor]:
    """Return what the model itself detects, as :class:`ClipProgram` returns it."""
    threshold, model.person_thresh = model.person_thresh, -1.0
    try:
        with torch.no_grad():
            results = model([{"clip": clip, "height": 1, "width": 1} for clip in clips])
    finally:
        model.person_thresh = threshold
    found = [result["instances"] for result in results]
    boxes = torch.stack([x.pred_boxes.tensor for x in found])
    scores, all_action_scores = (
        torch.stack([x.get(name) for x in found]) for name in ("scores", "action_scores")
    )
    return [boxes, scores, all_action_scores * (scores > threshold)[..., None], all_action_scores]
