"""A model with random clips to run it on, and everything that is measured about one run of it."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from detectron2.config import CfgNode
from detectron2.utils.env import seed_all_rng
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tubedet.engine import load_config
from tubedet.engine.evaluation_precision import AMP_DTYPES

from .gpu_counts import count_on_gpu
from .memory import PeakMemory
from .operator_counts import OperatorCounts
from .random_clips import NUM_PERSONS, random_batch
from .timing import CopyRate, MatrixRate, ModuleTimes, timed

# Where the clips of a run are before it. On a GPU those of the host are pinned, as loaders do it.
CLIP_PLACES = ("host", "device")


def _product_operations(
    added: torch.Size, rows: torch.Size, columns: torch.Size, **_: object
) -> int:
    """Of a matrix product, given the shapes of ``added + rows @ columns``."""
    return 2 * math.prod(rows) * columns[-1]


# In-place products, which PyTorch's counter does not know.
_MORE_OPERATIONS = {
    torch.ops.aten.addmm_: _product_operations,
    torch.ops.aten.baddbmm_: _product_operations,
}


@dataclass(frozen=True)
class ModelRun:
    """What is run.

    Attributes:
        config_file, opts: The config; opts are ``KEY VALUE KEY VALUE ...``.
        variant: Which form of the model; the task knows its names.
        clip_size: T, H, W.
        batch_size: Clips.
        seed: Of weights and clips.
        amp: Precision of autocast, a key of ``AMP_DTYPES``, or None.
        compiled: Run ``torch.compile`` on the backbone.
        matrix_size: Of the product that the machine is judged by; None: as the device needs it.
        clips: Where they are before the run, one of :data:`CLIP_PLACES`.
        num_persons: Of every clip, whose boxes are given to the detectors that need them.
    """

    config_file: str
    opts: tuple[str, ...]
    variant: str
    clip_size: tuple[int, int, int]
    batch_size: int
    seed: int
    amp: str | None = None
    compiled: bool = False
    matrix_size: int | None = None
    clips: str = "host"
    num_persons: int = NUM_PERSONS

    def load_config(self) -> CfgNode:
        """Return the config with its opts; see :func:`tubedet.engine.load_config`."""
        return load_config(self.config_file, list(self.opts))


class MeasuredModel(ABC):
    """Builds the model of a :class:`ModelRun` and measures it; to be made in a fresh process.

    Args:
        run: What to build.

    Raises:
        OSError, KeyError, ValueError: The config or its weights cannot be used.
    """

    def __init__(self, run: ModelRun):
        cfg = run.load_config()
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.amp_dtype = AMP_DTYPES[run.amp] if run.amp else None
        seed_all_rng(run.seed)
        self.model = self.build(cfg, run.variant)
        if run.compiled:
            self.model.backbone = torch.compile(self.model.backbone, dynamic=False)
        self.batch = random_batch(
            run.batch_size,
            run.clip_size,
            num_actions=cfg.MODEL.NUM_ACTIONS,
            exclusive=cfg.MODEL.EXCLUSIVE_ACTIONS,
            num_persons=run.num_persons,
            seed=run.seed,
        )
        on_gpu = self.device.type == "cuda"
        for clip_input in self.batch:
            if run.clips == "device":
                clip_input["clip"] = clip_input["clip"].to(self.device)
            elif on_gpu:
                clip_input["clip"] = clip_input["clip"].pin_memory()
        # Most CPUs only emulate the types of autocast, so float32 is the best they can do.
        dtype = self.amp_dtype if on_gpu and self.amp_dtype else torch.float32
        # cuDNN's convolutions use TF32 by default; PyTorch's matrix products do not.
        tf32 = on_gpu and torch.backends.cudnn.conv.fp32_precision == "tf32"
        tf32 = tf32 and dtype == torch.float32
        self._matrix_dtype = "tf32" if tf32 else str(dtype).removeprefix("torch.")
        size = run.matrix_size or (8192 if on_gpu else 2048)
        self._matrix_rate = MatrixRate(size, self.device, dtype, tf32)
        # Larger than any cache.
        self._copy_rate = CopyRate(2**30 if on_gpu else 2**27, self.device)
        self._module_times = ModuleTimes(self.model, self.device)
        self._memory = PeakMemory(self.device)

    @abstractmethod
    def build(self, cfg: CfgNode, variant: str) -> nn.Module:
        """Make the model in the given form, on ``MODEL.DEVICE``."""

    @abstractmethod
    def phases(self) -> dict[str, Callable[[], None]]:
        """Return the parts of one run by name, in their order; the first one is "forward"."""

    def autocast(self) -> contextlib.AbstractContextManager:
        """Return the precision that the forward pass runs in."""
        enabled = self.amp_dtype is not None
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=enabled)

    def measure(self) -> dict:
        """Multiply the matrices, copy an array and run the model once.

        Returns:
            dict: ``matrix_gflop_per_s``, see :class:`MatrixRate`; ``copy_gb_per_s``, see
            :class:`CopyRate`; ``phases`` and ``modules``, by name ``wall_s`` and ``cpu_s`` of the
            parts of the run and of the modules in "forward".
        """
        matrix_rate, copy_rate = self._matrix_rate.measure(), self._copy_rate.measure()
        phases, modules = {}, {}
        for name, phase in self.phases().items():
            recording = contextlib.nullcontext(modules)
            if name == "forward":
                recording = self._module_times.recording()
            with recording as modules, timed(self.device) as timing:
                phase()
            phases[name] = asdict(timing)
        return {
            "matrix_gflop_per_s": matrix_rate,
            "copy_gb_per_s": copy_rate,
            "phases": phases,
            "modules": {name: asdict(timing) for name, timing in modules.items()},
        }

    def totals(self) -> dict:
        """Return what does not change from run to run; to be asked for last.

        Returns:
            dict: ``peak_growth_mb`` since the model was built, see :class:`PeakMemory`;
            ``matrix_dtype``; ``gflop`` of a run, of its ``phases`` and of the ``modules`` in
            "forward": 1e9 operations of the matrix products and convolutions, a multiply-add
            being two; ``counts`` of a run, see :class:`Counts`, and ``gpu_counts``, see
            :class:`GPUCounts`, or None on a CPU.
        """
        growth = self._memory.growth_mb()
        counts, gpu_counts = self._counts()
        phases, modules, counted = {}, {}, 0
        counter = FlopCounterMode(display=False, custom_mapping=_MORE_OPERATIONS)
        with counter, torch.compiler.set_stance("force_eager"):
            for name, phase in self.phases().items():
                phase()
                phases[name] = (counter.get_total_flops() - counted) / 1e9
                counted = counter.get_total_flops()
                if name == "forward":
                    modules = {
                        name.partition(".")[2].replace("_orig_mod.", ""): sum(flop.values()) / 1e9
                        for name, flop in counter.get_flop_counts().items()
                    }
        return {
            "peak_growth_mb": growth,
            "matrix_dtype": self._matrix_dtype,
            "gflop": {"run": counted / 1e9, "phases": phases, "modules": modules},
            "counts": counts,
            "gpu_counts": gpu_counts,
        }

    def _counts(self) -> tuple[dict, dict | None]:
        def step() -> None:
            for phase in self.phases().values():
                phase()

        gpu_counts = asdict(count_on_gpu(step)) if self.device.type == "cuda" else None
        with OperatorCounts() as operators, torch.compiler.set_stance("force_eager"):
            step()
        return asdict(operators.counts), gpu_counts
