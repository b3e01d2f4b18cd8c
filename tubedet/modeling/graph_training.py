"""Training by CUDA graphs: both passes of a model are recorded for a size of clips, then replayed.

A step of a few clips is thousands of small launches, which take the host several times longer than
the GPU. What depends on annotations (matching, losses) stays outside of the graphs.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from .clip_batch import ClipBatch
from .graph_recorder import GraphRecorder, form_of
from .layer_output import filled_with, tensors_of

# How often clips of a size come before it is recorded: sizes that are rare are not worth it.
_MEETINGS = 3
# Sizes that are counted at a time.
_MOST_SIZES = 1000


class RecordedTraining:
    """``predict`` of a model in training, replayed from CUDA graphs, forward and backward.

    All graphs share their memory: a backward pass has to come before the next forward pass.
    Gradients and random numbers (dropout) are those of the model.

    Args:
        max_sizes: sizes that are recorded, the first ones that come often.

    Attributes:
        passes: forward passes that were replayed.
    """

    def __init__(self, max_sizes: int = 8):
        self._max_sizes = max_sizes
        self._meetings: Counter[tuple] = Counter()
        self._recordings: dict[tuple, _Recording] = {}
        self._memory: _SharedMemory | None = None
        self._graphs = GraphRecorder("SOLVER.CUDA_GRAPHS")
        self.passes = 0

    def __call__(
        self,
        model: nn.Module,
        predict: Callable[..., list],
        clips: ClipBatch,
        options: dict,
        *,
        reads_sizes: bool,
    ) -> list:
        """Predict as the model does.

        Args:
            model: whose method ``predict`` is.
            predict: does nothing but launch work on one GPU; returns a list of tensors or
                :class:`LayerOutput`.
            clips: on a GPU.
            options: further arguments of ``predict``.
            reads_sizes: whether ``predict`` reads the unpadded sizes of the clips, beside the mask;
                batches of other sizes are then recorded by themselves.

        Returns:
            the result of ``predict``; the next call may overwrite it.
        """
        sizes = clips.sizes if reads_sizes else []
        key = (*form_of(clips), *sorted(options.items()), *sizes)
        weights = _Weights.of(model)
        recording = self._recordings.get(key)
        if recording is not None and recording.addresses == weights.addresses:
            return recording.replay(self, clips, weights)
        self._recordings.pop(key, None)  # the weights have moved
        if self._is_rare(key) or len(self._recordings) >= self._max_sizes:
            return predict(clips, **options)
        recording = self._record(model, predict, clips, options, weights)
        self._recordings[key] = recording
        return recording.replay(self, clips, weights)

    def _is_rare(self, key: tuple) -> bool:
        if len(self._meetings) >= _MOST_SIZES:
            self._meetings.clear()
        self._meetings[key] += 1
        return self._meetings[key] < _MEETINGS

    def __reduce__(self) -> tuple:
        """Copy and pickle one without recordings, for the copy of the model."""
        return RecordedTraining, (self._max_sizes,)

    def _record(self, model, predict, clips, options, weights) -> _Recording:
        device = clips.tensor.device
        if self._memory is None or not self._memory.fits(weights):
            self._recordings.clear()
            self._memory = _SharedMemory.of(weights)
        memory = self._memory
        own = ClipBatch(clips.tensor.clone(), clips.mask.clone(), list(clips.sizes))
        latest: list = []

        def forward() -> list[torch.Tensor]:
            with _in_place(weights, inputs):
                latest[:] = predict(own, **options)
            return tensors_of(latest)

        inputs = memory.inputs(weights)
        trained = [x for x in inputs if x.requires_grad]
        outputs, replay_forward = self._graphs.record(device, forward)
        form = list(latest)
        gradients = [torch.zeros_like(x) if x.requires_grad else None for x in outputs]

        def backward() -> list[bool]:
            pairs = [(x, d) for x, d in zip(tensors_of(latest), gradients) if d is not None]
            outputs, given = zip(*pairs)
            # Checkpointed modules compute again, and read weights again.
            with _in_place(weights, inputs):
                found = torch.autograd.grad(outputs, trained, given, allow_unused=True)
            return memory.keep_gradients(found)

        is_used, replay_backward = [False] * len(trained), _launch_nothing
        if any(x is not None for x in gradients):
            with torch.autocast(device.type, enabled=False):
                is_used, replay_backward = self._graphs.record(device, backward)
        latest.clear()
        outputs = [x.detach() for x in outputs]
        return _Recording(
            own,
            filled_with(form, outputs),
            outputs,
            gradients,
            weights.addresses,
            memory,
            is_used,
            replay_forward,
            replay_backward,
        )


def _launch_nothing() -> None:
    """Compute the gradients of a part that is frozen."""


@dataclass
class _Weights:
    """Weights of a model at a call.

    Attributes:
        slots: modules and names of what follows, and which of it stands there.
        values: all weights, each once: parameters, and the copies that stand in their place for
            one call, see :class:`~tubedet.modeling.half_weights.HalfWeights`.
        addresses: in memory, of all but the copies, buffers included; and what is trained, and in
            which mode the modules are.
    """

    slots: list[tuple[nn.Module, str, int]]
    values: list[torch.Tensor]
    addresses: list[int]

    @classmethod
    def of(cls, model: nn.Module) -> _Weights:
        slots, addresses = [], []
        numbers: dict[int, int] = {}
        values: list[torch.Tensor] = []
        for module in model.modules():
            for name, weight in module._parameters.items():
                if weight is None:
                    continue
                if id(weight) not in numbers:
                    numbers[id(weight)] = len(values)
                    values.append(weight)
                slots.append((module, name, numbers[id(weight)]))
            addresses += [x.data_ptr() for x in module._buffers.values() if x is not None]
        addresses += [x.data_ptr() for x in values if isinstance(x, nn.Parameter)]
        addresses += [x.requires_grad for x in values] + [m.training for m in model.modules()]
        return cls(slots, values, addresses)

    @property
    def copies(self) -> list[torch.Tensor]:
        """Those that are no parameters."""
        return [x for x in self.values if not isinstance(x, nn.Parameter)]

    @property
    def trained(self) -> list[torch.Tensor]:
        """Those that get gradients."""
        return [x for x in self.values if x.requires_grad]


@dataclass
class _SharedMemory:
    """What the graphs of all sizes read and write.

    Attributes:
        copies: of the copies of a call.
        gradients: of what is trained, in its order.
    """

    copies: list[torch.Tensor]
    gradients: list[torch.Tensor]

    @classmethod
    def of(cls, weights: _Weights) -> _SharedMemory:
        copies = [x.detach().clone() for x in weights.copies]
        gradients = [torch.zeros_like(x, requires_grad=False) for x in weights.trained]
        return cls(copies, gradients)

    def fits(self, weights: _Weights) -> bool:
        """Whether weights are as they were, but for their values."""
        now, before = (weights.copies, weights.trained), (self.copies, self.gradients)
        return all(
            [(x.shape, x.dtype, x.device) for x in some]
            == [(x.shape, x.dtype, x.device) for x in others]
            for some, others in zip(now, before)
        )

    def inputs(self, weights: _Weights) -> list[torch.Tensor]:
        """Return what graphs read in place of the weights, in memory that stays.

        The gradients of these tensors are computed by nodes of their own. Those of parameters may
        belong to another stream, which a graph must not wait for.
        """
        copies = iter(self.copies)
        return [
            (x if isinstance(x, nn.Parameter) else next(copies))
            .detach()
            .requires_grad_(x.requires_grad)
            for x in weights.values
        ]

    def keep_gradients(self, found: tuple[torch.Tensor | None, ...]) -> list[bool]:
        """Copy gradients to the shared ones; return which there are."""
        there = [(mine, x) for mine, x in zip(self.gradients, found) if x is not None]
        torch._foreach_copy_([mine for mine, _ in there], [x for _, x in there])
        return [x is not None for x in found]


@contextlib.contextmanager
def _in_place(weights: _Weights, others: list[torch.Tensor]) -> Iterator[None]:
    """Let other tensors stand in the places of the weights."""
    places: Any = [(module._parameters, name) for module, name, _ in weights.slots]
    own = [parameters[name] for parameters, name in places]
    try:
        for (parameters, name), (_, _, number) in zip(places, weights.slots):
            parameters[name] = others[number]
        yield
    finally:
        for (parameters, name), weight in zip(places, own):
            parameters[name] = weight


@dataclass
class _Recording:
    """Both graphs of a size.

    Attributes:
        clips: the batch that the graphs read.
        form: of the result, a list of tensors and :class:`LayerOutput`.
        outputs: its tensors, which the graphs write.
        gradients: of these, which the graphs read; None: it has none.
        addresses: see :class:`_Weights`.
        memory: shared with other sizes.
        is_used: which of the trained weights have a gradient.
        forward, backward: launch the graphs.
    """

    clips: ClipBatch
    form: list
    outputs: list[torch.Tensor]
    gradients: list[torch.Tensor | None]
    addresses: list[int]
    memory: _SharedMemory
    is_used: list[bool]
    forward: Callable[[], None]
    backward: Callable[[], None]

    def replay(self, training: RecordedTraining, clips: ClipBatch, weights: _Weights) -> list:
        """Predict for clips of the size."""
        with torch.no_grad():
            self.clips.tensor.copy_(clips.tensor)
            self.clips.mask.copy_(clips.mask)
            if weights.copies:
                torch._foreach_copy_(self.memory.copies, weights.copies)
        return filled_with(self.form, _Replay.apply(training, self, *weights.trained))


class _Replay(torch.autograd.Function):
    """Replays a recording; its arguments are the weights that get the gradients."""

    @staticmethod
    def forward(ctx, training, recording, *weights):
        ctx.set_materialize_grads(False)
        training.passes += 1
        ctx.training, ctx.recording, ctx.number = training, recording, training.passes
        recording.forward()
        outputs = tuple(x.detach() for x in recording.outputs)
        fixed = [x for x, d in zip(outputs, recording.gradients) if d is None]
        ctx.mark_non_differentiable(*fixed)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        recording = ctx.recording
        if ctx.number != ctx.training.passes:
            raise RuntimeError(
                "with SOLVER.CUDA_GRAPHS a backward pass has to come once, before the next forward "
                "pass in training: each pass overwrites what the one before it has kept"
            )
        ctx.number = 0  # a second backward pass would read what this one has overwritten
        wanted = [(own, d) for own, d in zip(recording.gradients, gradients) if own is not None]
        unused = [own for own, d in wanted if d is None]
        given = [(own, d) for own, d in wanted if d is not None]
        if unused:
            torch._foreach_zero_(unused)
        if given:
            torch._foreach_copy_([own for own, _ in given], [d for _, d in given])
        recording.backward()
        there = [x for x, used in zip(recording.memory.gradients, recording.is_used) if used]
        # Parameters may keep what they get, and the next pass overwrites the shared memory.
        copies = [torch.empty_like(x) for x in there]
        torch._foreach_copy_(copies, there)
        remaining = iter(copies)
        return None, None, *(next(remaining) if used else None for used in recording.is_used)
