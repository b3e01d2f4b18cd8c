"""A model in use: batches of clips in, instances on the CPU out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from tubedet.engine.evaluation_precision import on_cpu
from tubedet.errors import UserError
from tubedet.modeling.meta_arch.clip_model import ClipModel, Observation

logger = logging.getLogger(__name__)


class ClipInference:
    """Runs a model in evaluation mode, under autocast and compiled if wanted.

    Apart from that the model stays as it is: names, weights and modules do not change. A line in
    the log tells where all actions of a person have the same attention.

    Args:
        model: takes and returns what detectron2 models do; put into evaluation mode.
        amp: "float16" or "bfloat16" runs the model under autocast; None: as it is.
        compile: compile the model's ``backbone``, for one size of clips; this takes minutes at
            the first clip.
        batch_size: clips in one forward pass.
        explain: columns of actions whose attention the instances shall have, see
            :meth:`~tubedet.modeling.ClipDetector.explain`.

    Raises:
        UserError: if ``amp`` or ``batch_size`` is no such value, the device has no float16, or the
            model cannot explain these actions.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        amp: str | None = None,
        compile: bool = False,
        batch_size: int = 1,
        explain: Sequence[int] = (),
    ):
        if amp not in (None, "float16", "bfloat16"):
            raise UserError(f'amp must be "float16", "bfloat16" or None, got {amp!r}')
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        self.model = model.eval()
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        if amp == "float16" and self.device.type == "cpu":
            raise UserError('amp="float16" needs a GPU; on a CPU use "bfloat16"')
        self.batch_size = batch_size
        self.explained = list(explain)
        if self.explained:
            check_explains(model, self.explained)
            if not model.attends_by_action:
                logger.warning(
                    "%s looks once for all actions of a person: a person has one map of attention, "
                    "the same for every action",
                    type(model).__name__,
                )
        self._amp_dtype = getattr(torch, amp) if amp else None
        self._is_compiled = compile
        if compile:
            model.get_submodule("backbone").compile(dynamic=False)

    def __call__(self, inputs: Sequence[dict]) -> list[Instances]:
        """Detect on some clips in one forward pass.

        Args:
            inputs: at most ``batch_size`` inputs of the model.

        Returns:
            The model's output for each, on the CPU, in float32.
        """
        with torch.inference_mode(), self._autocast():
            if self.explained and isinstance(self.model, ClipModel):
                outputs = self.model.explain(self._filled(inputs), self.explained)
            else:
                outputs = self.model(self._filled(inputs))
        return _instances(outputs[: len(inputs)])

    def observe(self, inputs: Sequence[dict]) -> list[Observation]:
        """See :meth:`ClipModel.observe`; in one forward pass.

        Args:
            inputs: at most ``batch_size`` inputs of the model.
        """
        assert isinstance(self.model, ClipModel)  # which alone have a memory
        with torch.inference_mode(), self._autocast():
            return self.model.observe(self._filled(inputs))[: len(inputs)]

    def conclude(
        self, observations: list[Observation], memories: Sequence[dict]
    ) -> list[Instances]:
        """See :meth:`ClipModel.conclude`.

        Args:
            observations: of some clips.
            memories: around each.

        Returns:
            as of a call.
        """
        assert isinstance(self.model, ClipModel)
        with torch.inference_mode(), self._autocast():
            return _instances(self.model.conclude(observations, memories))

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self._amp_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._amp_dtype)

    def _filled(self, inputs: Sequence[dict]) -> list[dict]:
        """Return a full batch where the model is compiled: another size would be compiled anew."""
        missing = self.batch_size - len(inputs) if self._is_compiled else 0
        return [*inputs, *list(inputs[-1:]) * missing]


def check_explains(model: nn.Module, actions: Sequence[int] = ()) -> None:
    """Refuse a model that cannot explain actions.

    Args:
        model: of any kind.
        actions: columns that it must have.

    Raises:
        UserError: in one line, with what is possible.
    """
    if not isinstance(model, ClipModel):
        raise UserError(
            f"{type(model).__name__} cannot explain an action: it is no architecture of tubedet"
        )
    model.check_explains(actions)


def _instances(outputs: list[dict]) -> list[Instances]:
    return [_in_float32(output["instances"]) for output in on_cpu(outputs)]


def _in_float32(instances: Instances) -> Instances:
    """Return a copy in float32, which may be changed: what inference mode makes may not."""
    copies = Instances(instances.image_size)
    for name, value in instances.get_fields().items():
        if isinstance(value, Boxes):
            copies.set(name, Boxes(value.tensor.float().clone()))
        else:
            copies.set(name, value.float().clone() if value.is_floating_point() else value.clone())
    return copies
