"""Autocast of a GPU for the tensors of :class:`simulated_gpu.SimulatedGPU`.

PyTorch's lists of what runs in half precision differ between GPUs and CPUs, so the casts that a GPU
would do cannot be counted with the CPU's autocast. The lists are those of "CUDA Ops that can
autocast" in PyTorch's documentation, as far as models use them.
"""

import contextlib
from unittest.mock import patch

import torch
from torch.utils._pytree import tree_map

HALF = """conv1d conv2d conv3d convolution _convolution conv_transpose3d.input addmm addmv
matmul einsum mm mv linear baddbmm bmm scaled_dot_product_attention prelu""".split()
FULL = """exp log log2 log1p reciprocal rsqrt pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar
softplus layer_norm native_layer_norm group_norm nll_loss l1_loss smooth_l1_loss mse_loss kl_div
cdist binary_cross_entropy_with_logits logsumexp dist""".split()
FULL_RESULT = """prod softmax.int log_softmax.int cumsum sum sum.dim_IntList cumprod""".split()
WIDEST = "addcdiv addcmul grid_sampler index_put scatter_add dot tensordot atan2".split()
_KEY = torch._C.DispatchKey.AutocastCUDA


def _is_eligible(x) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point() and x.dtype != torch.float64


class SimulatedAutocast:
    """Within, ``torch.autocast("cuda")`` works on the simulated GPU."""

    def __init__(self):
        self.weights: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        """Give every operator of the lists a kernel for the autocast key."""
        library = torch.library.Library("aten", "IMPL")
        self._stack.callback(library._destroy)
        kinds = ((HALF, self.half), (FULL, self.full), (FULL_RESULT, self.result))
        for names, rule in (*kinds, (WIDEST, self.widest)):
            for name in names:
                packet, _, overload = name.partition(".")
                op = getattr(getattr(torch.ops.aten, packet), overload or "default")
                library.impl(op, self.kernel(op, rule), "AutocastCUDA", allow_override=True)
        for target, value in (
            ("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            ("torch.cuda.is_bf16_supported", lambda: True),
            ("torch.clear_autocast_cache", self.weights.clear),
        ):
            self._stack.enter_context(patch(target, value))
        return self

    def __exit__(self, *error):
        """Undo it."""
        self._stack.close()

    def kernel(self, op, rule):
        def run(*args, **kwargs):
            with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_KEY)):
                args, kwargs = rule(args, kwargs)
                return op(*args, **kwargs)

        return run

    def half(self, args, kwargs):
        return tree_map(self._halved, (args, kwargs))

    def _halved(self, x):
        dtype = torch.get_autocast_dtype("cuda")
        if not _is_eligible(x) or x.dtype == dtype:
            return x
        if not (x.is_leaf and x.requires_grad):
            return x.to(dtype)
        if id(x) not in self.weights:
            self.weights[id(x)] = x, x.to(dtype)
        return self.weights[id(x)][1]

    def full(self, args, kwargs):
        return tree_map(lambda x: x.float() if _is_eligible(x) else x, (args, kwargs))

    def result(self, args, kwargs):
        given = kwargs.get("dtype") or any(isinstance(x, torch.dtype) for x in args)
        if _is_eligible(args[0]) and not given:
            kwargs["dtype"] = torch.float32
        return args, kwargs

    def widest(self, args, kwargs):
        wide = any(_is_eligible(x) and x.dtype == torch.float32 for x in args)
        return self.full(args, kwargs) if wide else (args, kwargs)
