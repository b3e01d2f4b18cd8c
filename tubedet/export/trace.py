"""From a detector to an ``ExportedProgram``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from tubedet.modeling.meta_arch import ClipModel, RoIActionDetector

from .box_program import BOX_INPUTS, BoxProgram
from .clip_program import INPUTS, ClipProgram
from .export_errors import ExportError, first_line

MAX_BATCH = 1024
MIN_SIDE, MAX_SIDE = 32, 4096
# What dynamic axes are traced with: sizes that are no special case, as 1 is.
_TRACED_BATCH, _TRACED_SIZE = 2, (64, 96)
# Of random boxes.
_BOXES_PER_CLIP = 3


@dataclass(frozen=True)
class ClipShape:
    """Shape of the clips (B, 3, T, H, W) that a program takes.

    Attributes:
        num_frames: T, which is always fixed.
        batch: B, or None for any up to :data:`MAX_BATCH`.
        size: (H, W) in pixels, or None for any sides in :data:`MIN_SIDE` .. :data:`MAX_SIDE`.
        multiple: what sides that are not fixed must be multiples of.
    """

    num_frames: int
    batch: int | None = None
    size: tuple[int, int] | None = None
    multiple: int = 1

    @classmethod
    def of(
        cls, model: ClipModel, num_frames: int, batch: int | None, size: tuple[int, int] | None
    ) -> ClipShape:
        """Return the shape with the multiple that a model's backbone asks for."""
        return cls(num_frames, batch, size, max(model.backbone.size_divisibility, 1))

    def rounded_up(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (H, W) rounded up to the multiples that free sides have."""
        height, width = (-(-side // self.multiple) * self.multiple for side in size)
        return height, width

    def random_clips(
        self, batch: int, size: tuple[int, int], generator: torch.Generator
    ) -> torch.Tensor:
        """Noise, uint8 (B, 3, T, H, W); fixed axes have their length whatever is asked for."""
        shape = (self.batch or batch, 3, self.num_frames, *(self.size or size))
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def input_names(model: object) -> tuple[str, ...]:
    """Return the names of what the program of a model takes.

    Args:
        model: the detector.
    """
    return BOX_INPUTS if isinstance(model, RoIActionDetector) else INPUTS


def random_inputs(
    model: ClipModel, clips: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """Return what the program of a model takes: clips, and boxes in them if it is given boxes.

    Args:
        model: the detector.
        clips: (B, 3, T, H, W).
        generator: of the boxes and their scores. Boxes of all clips are mixed, some reach beyond
            the borders, and each has an area within.
    """
    if not isinstance(model, RoIActionDetector):
        return (clips,)
    number = _BOXES_PER_CLIP * len(clips)
    clip = torch.arange(number) % len(clips)
    near, far = torch.rand(2, number, 2, generator=generator)
    boxes = torch.cat((clip[:, None], near * 0.6 - 0.2, 0.6 + 0.6 * far), 1)
    return clips, boxes, torch.rand(number, generator=generator)


def trace_detector(model: ClipModel, shape: ClipShape) -> ExportedProgram:
    """Trace what a model does with clips of a shape.

    Args:
        model: on the device on which the program is to run.
        shape: of its clips.

    Returns:
        the program of a :class:`ClipProgram`, or of a :class:`BoxProgram` for any number of boxes;
        its dynamic axes have the ranges of ``shape``.

    Raises:
        ExportError: if PyTorch cannot express the model, with its reason.
    """
    program = BoxProgram(model) if isinstance(model, RoIActionDetector) else ClipProgram(model)
    size = shape.rounded_up(_TRACED_SIZE)
    generator = torch.Generator().manual_seed(0)
    clips = shape.random_clips(_TRACED_BATCH, size, generator)
    inputs = tuple(x.to(model.device) for x in random_inputs(model, clips, generator))
    axes: dict[int, Any] = {}
    if shape.batch is None:
        axes[0] = Dim("batch", min=1, max=MAX_BATCH)
    if shape.size is None:
        axes[3] = _side("height", shape.multiple)
        axes[4] = _side("width", shape.multiple)
    boxes = Dim("boxes", min=0)
    try:
        with torch.no_grad():
            # Not strict: several times faster.
            return torch.export.export(
                program,
                inputs,
                dynamic_shapes=(axes, *({0: boxes} for _ in inputs[1:])),
                strict=False,
            )
    except Exception as error:  # whatever a tracer raises is the reason why it gave up
        advice = "; a fixed --batch and --size ask less of PyTorch" if axes else ""
        raise ExportError(
            f"PyTorch {torch.__version__} cannot trace {type(model).__name__}: "
            f"{first_line(error)}{advice}"
        ) from error


def _side(name: str, multiple: int) -> Dim:
    if multiple == 1:
        return Dim(name, min=MIN_SIDE, max=MAX_SIDE)
    return multiple * Dim(f"{name}_units", min=-(-MIN_SIDE // multiple), max=MAX_SIDE // multiple)
