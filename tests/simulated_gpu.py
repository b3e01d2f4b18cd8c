"""A GPU that is not there: its tensors live on the CPU and every command it would get is counted.

Tensors say that they are on "cuda:0", so PyTorch takes the same ways as on a GPU (autocast's lists
of operators, pinned memory, optimisers); the numbers are computed on the CPU.
"""

import contextlib
import sys
import types
from collections import Counter
from unittest.mock import patch

import torch
from simulated_autocast import SimulatedAutocast
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _foreach_supported_types
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)
from torch.utils._pytree import tree_map

from tubedet.layers.cuda import availability

DEVICE = torch.device("cuda:0")
aten = torch.ops.aten
# Their results, or the shapes of these, are needed on the host.
_ANSWERS = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.unique_dim,
    aten._unique2,
    aten.unique_consecutive,
    aten.equal,
    aten.is_nonzero,
    aten.bincount,
}
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_}
_LAUNCH_FREE = {
    "detach",
    "alias",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "lift_fresh",
}
_LAUNCH_FREE |= {"_unsafe_view", "new_empty_strided", "is_pinned", "_pin_memory", "_reshape_alias"}
_moving: list[torch.Tensor] = []  # what is on its way between host and GPU


class SimulatedTensor(torch.Tensor):
    """A tensor of the simulated GPU; ``held`` are its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, real):
        """Wrap a CPU tensor."""
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=DEVICE,
            dispatch_device=True,
        )
        tensor.held = real
        return tensor

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.prim.device.default:
            return torch.device("cpu")  # the core would ask a driver for streams of a GPU
        raise RuntimeError(f"{func} runs outside of SimulatedGPU")


class _Moves(TorchFunctionMode):
    """Carry out what moves tensors; PyTorch's core is told that all are on the CPU already."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cpu:
            return _moved(args[0], torch.device("cpu"), None, False)
        if func is torch.Tensor.to:
            tensor, *rest = args
            given = [kwargs.pop("device", None), kwargs.pop("dtype", None), *rest]
            device = dtype = None
            for x in given:
                if isinstance(x, torch.Tensor):
                    device, dtype = x.device, x.dtype
                elif isinstance(x, torch.dtype):
                    dtype = x
                elif isinstance(x, (str, torch.device)):
                    device = torch.device(x)
            if device is not None and device.type != tensor.device.type:
                return _moved(tensor, device, dtype, bool(kwargs.get("non_blocking")))
            kwargs.pop("non_blocking", None)
            return func(tensor, dtype=dtype or tensor.dtype, **kwargs)
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            return func(*args, **kwargs).to(device)
        if func is torch.Tensor.new_tensor:
            return torch.tensor(args[1], dtype=args[0].dtype).to(args[0].device)
        return func(*args, **kwargs)


def _moved(tensor, device, dtype, non_blocking):
    if device.type == tensor.device.type:
        return tensor if dtype is None else tensor.to(dtype)
    _moving.append(tensor)
    try:
        return aten._to_copy(
            tensor, dtype=dtype or tensor.dtype, device=device, non_blocking=non_blocking
        )
    finally:
        _moving.pop()


class SimulatedGPU(TorchDispatchMode):
    """Within, the device "cuda" can be used.

    Attributes:
        synchronisations: Counter of the places in the code at which the host waits for the GPU.
        copies: Counter of "to the host" and "to the GPU", copies without a wait included.
        casts: Counter of the places of ``_to_copy`` from one precision to another.
        launches: Counter of the operators that start at least one kernel, and of Triton kernels.
    """

    def __init__(self):
        super().__init__()
        self.reset()
        self._pinned: dict[int, torch.Tensor] = {}  # alive, so that no other gets their place
        self._stack = contextlib.ExitStack()

    def reset(self) -> None:
        """Count from zero."""
        self.synchronisations: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.casts: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()

    @contextlib.contextmanager
    def uncounted(self):
        """Within, nothing is counted."""
        kept = self.synchronisations, self.copies, self.casts, self.launches
        self.reset()
        try:
            yield
        finally:
            self.synchronisations, self.copies, self.casts, self.launches = kept

    def __enter__(self):
        """Let "cuda:0" be used without a driver."""
        flags = torch.backends.cudnn.flags(enabled=False)  # its operators have no CPU version
        for context in (flags, SimulatedAutocast(), _Moves()):
            self._stack.enter_context(context)
        # Parameters of a class of its own do not count as tensors there.
        _foreach_supported_types.append(SimulatedTensor)
        self._stack.callback(_foreach_supported_types.remove, SimulatedTensor)
        for name, value in (
            ("_lazy_init", lambda: None),
            ("Event", lambda: _Event(self)),
            ("current_stream", lambda device: None),
            ("is_current_stream_capturing", lambda: False),
        ):
            self._stack.enter_context(patch.object(torch.cuda, name, value))
        for module in ("torch.nn.utils.clip_grad", "torch.optim.optimizer"):
            name, module = "_group_tensors_by_device_and_dtype", sys.modules[module]
            group = _groups_on_gpu(getattr(module, name))
            self._stack.enter_context(patch.object(module, name, group))
        return super().__enter__()

    def __exit__(self, *error):
        """Undo it."""
        super().__exit__(*error)
        self._stack.close()

    def move(self, model: torch.nn.Module) -> torch.nn.Module:
        """Move a model here; its parameters become others."""
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            return model.to(DEVICE)
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)

    def interpret_deformable_attention(self) -> None:
        """Let its Triton kernels run here, in Triton's interpreter."""
        from tubedet.layers.cuda import deformable, deformable_kernels

        nowhere = contextlib.nullcontext()
        for module, name, value in (
            (availability, "runs_kernels", lambda x: x.is_cuda),
            (torch.cuda, "device", lambda device: nowhere),
            (deformable, "_tables", {}),
        ):
            self._stack.enter_context(patch.object(module, name, value))
        for name in ("read_points", "read_points_gradient"):
            launched = _InterpretedKernel(self, name, getattr(deformable_kernels, name))
            self._stack.enter_context(patch.object(deformable_kernels, name, launched))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operator on the CPU and count what it would mean for a GPU."""
        if func is torch.ops.prim.device.default:
            return SimulatedTensor.__torch_dispatch__(func, types, args, kwargs)
        kwargs = dict(kwargs or {})
        operands = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if _is_tensor(x)]
        on_gpu = any(isinstance(x, SimulatedTensor) for x in operands)
        packet, name = func.overloadpacket, func.overloadpacket.__name__
        if packet is aten._pin_memory:
            return self._pin(args[0].clone())
        device = kwargs.get("device")
        if packet is aten._to_copy and on_gpu and not _moving:
            device = None  # a cast: the core names the device that it has been told
        to_gpu = device is not None and torch.device(device).type == "cuda"
        to_gpu |= packet is aten.new_empty_strided and _stores_gradient()
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        if kwargs.pop("pin_memory", None):
            return self._pin(func(*args, **kwargs))
        wanted_on_gpu = to_gpu or (on_gpu and device is None)
        if on_gpu or to_gpu:
            self._count(func, packet, name, args, kwargs, operands, device, wanted_on_gpu)
        real = func(*tree_map(_unwrapped, args), **tree_map(_unwrapped, kwargs))
        if packet is aten._local_scalar_dense or not wanted_on_gpu:
            return real.clone() if on_gpu and isinstance(real, torch.Tensor) else real
        wrapped = tree_map(lambda x: SimulatedTensor(x) if _is_tensor(x) else x, real)
        if packet is aten.copy_ and not isinstance(args[0], SimulatedTensor):
            return args[0]
        return return_and_correct_aliasing(func, args, kwargs, wrapped)

    def _count(self, func, packet, name, args, kwargs, operands, device, wanted_on_gpu):
        if packet is aten.copy_ or packet is aten._to_copy:
            target, source = (args[0], args[1]) if packet is aten.copy_ else (None, args[0])
            from_gpu = isinstance(source, SimulatedTensor)
            to_gpu = isinstance(target, SimulatedTensor) if target is not None else wanted_on_gpu
            if from_gpu != to_gpu:
                non_blocking = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
                host = source if to_gpu else target
                asynchronous = non_blocking and host is not None and host.data_ptr() in self._pinned
                self.copies["to the GPU" if to_gpu else "to the host"] += 1
                if not asynchronous and not (to_gpu and host.dim() == 0 and packet is aten.copy_):
                    self.synchronisations[_place()] += 1
            elif packet is aten._to_copy and kwargs.get("dtype") not in (None, source.dtype):
                self.casts[_place()] += 1
        elif packet in _ANSWERS or (packet in _INDEXING and _has_mask(args[1])):
            self.synchronisations[_place()] += 1
        elif packet is aten.repeat_interleave and kwargs.get("output_size") is None:
            self.synchronisations[_place()] += 1
        returns = [r.alias_info for r in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returns)
        if not is_view and name not in _LAUNCH_FREE:
            self.launches[name] += 1

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._pinned[tensor.data_ptr()] = tensor
        return tensor


class _InterpretedKernel:
    """A Triton kernel that is counted."""

    def __init__(self, gpu: SimulatedGPU, name: str, kernel):
        self.gpu, self.name, self.kernel = gpu, name, kernel

    def __getitem__(self, grid):
        def launch(*arguments):
            self.gpu.launches[self.name] += 1
            with _disable_current_modes():
                self.kernel[grid](*map(_unwrapped, arguments))

        return launch


def _groups_on_gpu(function):
    """Name the device that tensors show in Python."""

    def group(tensors, *args, **kwargs):
        device = tensors[0][0].device
        groups = function(tensors, *args, **kwargs)
        return {(device, dtype): value for (_, dtype), value in groups.items()}

    return group


class _Event:
    """What the host may wait for."""

    def __init__(self, gpu: SimulatedGPU):
        self.gpu = gpu

    def record(self, stream) -> None:
        pass

    def synchronize(self) -> None:
        self.gpu.synchronisations[_place()] += 1


def _stores_gradient() -> bool:
    """Whether a gradient gets the strides of its parameter; the core takes that for a CPU's."""
    node = torch._C._current_autograd_node()
    return node is not None and node.name() == "torch::autograd::AccumulateGrad"


def _is_tensor(x) -> bool:
    return isinstance(x, torch.Tensor)


def _unwrapped(x):
    return x.held if isinstance(x, SimulatedTensor) else x


def _has_mask(indices) -> bool:
    return any(_is_tensor(x) and x.dtype in (torch.bool, torch.uint8) for x in indices)


def _place() -> str:
    """File and line of the innermost caller that is not part of PyTorch's core."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/torch/" not in name and "/simulated_" not in name:
            return f"{'/'.join(name.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "autograd"
