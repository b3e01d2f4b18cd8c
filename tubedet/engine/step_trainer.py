"""One training iteration: passes, mixed precision and clipping of the whole model's gradient."""

import contextlib
import math
import time

import torch
from detectron2.engine import SimpleTrainer, create_ddp_model
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch.nn.parallel import DistributedDataParallel

from tubedet.errors import UserError
from tubedet.layers import HostCopy
from tubedet.modeling.half_weights import HalfWeights

from .optimizer_state import check_optimizer_state, with_own_settings

_WRITING_PERIOD = 20  # iterations, of detectron2's writers


def distributed_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with gradients averaged over all processes; itself if there is one process.

    Args:
        model: on the device it trains on.
    """
    device = next(model.parameters()).device
    return create_ddp_model(
        model,
        broadcast_buffers=False,
        device_ids=None if device.type == "cpu" else [device.index],
        gradient_as_bucket_view=True,  # what is exchanged is no second copy of the gradients
    )


class StepTrainer(SimpleTrainer):
    """detectron2's ``SimpleTrainer`` with autocast, accumulated gradients and global-norm clipping.

    detectron2's ``AMPTrainer`` needs a GPU and has no place to clip between unscaling and step.

    Args:
        model, data_loader, optimizer: as for ``SimpleTrainer``.
        device_type: "cuda" or "cpu".
        amp_dtype: precision of autocast; None trains in float32.
        max_grad_norm: L2 norm over all parameters to which gradients are clipped; None: no limit.
        clips_per_pass: clips of a batch whose losses and gradients are computed at a time; a pass
            counts as many times as it has clips. 0: all. Every process must need as many passes.

    Raises:
        UserError: for float16 on the CPU, which would need a loss scale nothing supports there,
            or a negative number of clips.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        data_loader,
        optimizer: torch.optim.Optimizer,
        *,
        device_type: str,
        amp_dtype: torch.dtype | None = None,
        max_grad_norm: float | None = None,
        clips_per_pass: int = 0,
    ):
        super().__init__(model, data_loader, optimizer)
        if device_type == "cpu" and amp_dtype == torch.float16:
            raise UserError("SOLVER.AMP.DTYPE float16 needs a GPU; on the CPU use bfloat16")
        if clips_per_pass < 0:
            raise UserError(f"SOLVER.CLIPS_PER_PASS is {clips_per_pass}; give 0 (all) or more")
        self.clips_per_pass = clips_per_pass
        self.device_type = device_type
        self.amp_dtype = amp_dtype
        self.max_grad_norm = max_grad_norm
        self._half_weights = None if amp_dtype is None else HalfWeights(model)
        self.grad_scaler = torch.amp.GradScaler(device_type, enabled=amp_dtype == torch.float16)

    def run_step(self):
        """Load a batch, compute losses and gradients, clip, and update the weights."""
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        self.optimizer.zero_grad()
        losses = self._accumulate_gradients(data)
        self.after_backward()
        self._write_metrics(losses, data_time)

        # Before anything is clipped, here or by the optimiser; nothing without a scale.
        self.grad_scaler.unscale_(self.optimizer)
        self._limit_gradients()
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _limit_gradients(self) -> None:
        """Clip the gradients' norm if it has a limit, and note its value before.

        On a GPU it is noted when writers take it: to read it, the CPU waits for the backward pass.
        """
        is_noted = self.device_type == "cpu" or (self.iter + 1) % _WRITING_PERIOD == 0
        if self.max_grad_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        elif is_noted:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
        if is_noted and comm.is_main_process() and math.isfinite(value := float(norm)):
            get_event_storage().put_scalar("grad_norm", value)

    def _accumulate_gradients(self, data: list) -> dict[str, torch.Tensor]:
        """Run the backward passes of a batch; return its losses, the means over the passes.

        Returns:
            values on the host. They are on their way before the last backward pass starts, for
            which nobody waits.
        """
        size = self.clips_per_pass or len(data)
        passes = [data[start : start + size] for start in range(0, len(data), size)]
        means: torch.Tensor | float = 0.0
        for part in passes:
            share = len(part) / len(data)
            with self._gradient_exchange(part is passes[-1]):
                loss_dict = self._losses(part)
                losses = torch.stack(list(loss_dict.values())) * share
                means = means + losses.detach()
                if part is passes[-1]:
                    on_host = HostCopy(means)
                self.grad_scaler.scale(losses.sum()).backward()
        return dict(zip(loss_dict, on_host.read()))

    def _losses(self, clips: list) -> dict[str, torch.Tensor]:
        if self._half_weights is None or self.amp_dtype is None:
            return self.model(clips)
        with torch.autocast(self.device_type, dtype=self.amp_dtype):
            return self._half_weights.call(self.amp_dtype, clips)

    def _gradient_exchange(self, wanted: bool) -> contextlib.AbstractContextManager:
        """Within, processes exchange gradients or keep them to add further ones first."""
        if wanted or not isinstance(self.model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.model.no_sync()

    def state_dict(self) -> dict:
        """Return the optimiser's state, and the loss scale when there is one."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict):
        """Undo :meth:`state_dict`; a checkpoint trained in another precision has no scale.

        Learning rates and weight decay stay those of the config.

        Raises:
            CheckpointError: if the state is of an optimiser of other parameters.
        """
        state = with_own_settings(self.optimizer, state_dict["optimizer"])
        check_optimizer_state(self.optimizer, state)
        super().load_state_dict({**state_dict, "optimizer": state})
        if state_dict.get("grad_scaler") and self.grad_scaler.is_enabled():
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
