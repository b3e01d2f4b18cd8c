"""Whether an exported file computes what the detector does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.structures import Boxes, Instances

from tubedet.layers import without_tf32
from tubedet.modeling.meta_arch import ClipDetector, ClipModel, RoIActionDetector

from .clip_program import OUTPUTS
from .trace import MIN_SIDE, ClipShape, random_inputs

Run = Callable[..., Sequence[torch.Tensor]]


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
    model: ClipModel,
    shape: ClipShape,
    cases: Sequence[tuple[int, tuple[int, int]]],
    seed: int = 0,
) -> list[Deviation]:
    """Compare a program with the detections of a model on random clips, without TF32.

    Args:
        run: takes and returns what :class:`ClipProgram` or :class:`BoxProgram` does.
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
            _deviation(
                run,
                model,
                random_inputs(model, shape.random_clips(batch, size, generator), generator),
            )
            for batch, size in cases
        ]


def _deviation(run: Run, model: Any, inputs: tuple[torch.Tensor, ...]) -> Deviation:
    expected = (
        given_detections(model, *inputs)
        if isinstance(model, RoIActionDetector)
        else detections(model, *inputs)
    )
    found = run(*inputs)
    largest = {}
    for name, one, other in zip(OUTPUTS, found, expected, strict=True):
        if one.shape != other.shape:
            # No broadcasting: another shape is another result.
            largest[name] = float("inf")
        else:
            largest[name] = (one.cpu() - other.cpu()).abs().max().item()
    return Deviation(tuple(inputs[0].shape), **largest)


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


def given_detections(
    model: RoIActionDetector, clips: torch.Tensor, boxes: torch.Tensor, scores: torch.Tensor
) -> list[torch.Tensor]:
    """Return what a model says of given boxes, as :class:`BoxProgram` returns it.

    Args:
        model: it.
        clips: see :class:`BoxProgram`.
        boxes: likewise; each has an area in its clip.
        scores: likewise.
    """
    size = (clips.shape[-2], clips.shape[-1])
    sides = boxes.new_tensor([size[1], size[0]]).repeat(2)
    rows = [(boxes[:, 0] == index).nonzero()[:, 0] for index in range(len(clips))]
    given = [
        Instances(size, proposal_boxes=Boxes(boxes[row, 1:] * sides), scores=scores[row])
        for row in rows
    ]
    rules = model.boxes
    model.boxes = replace(rules, score_thresh=0.0)
    try:
        with torch.no_grad():
            results = model([{"clip": c, "proposals": x} for c, x in zip(clips, given)])
    finally:
        model.boxes = rules
    found = Instances.cat([result["instances"].to("cpu") for result in results])
    found = found[torch.cat(rows).argsort()]
    shown = found.action_scores * (found.scores >= rules.score_thresh)[:, None]
    return [found.pred_boxes.tensor / sides, found.scores, shown, found.action_scores]
