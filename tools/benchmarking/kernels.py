"""The Triton kernels against PyTorch's operators, at the sizes of a CSN-50 on a GPU."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import MultiScaleDeformableAttention
from tubedet.layers.cuda import availability

from .measurement import summary
from .model_arguments import positive
from .timing import CopyRate, timed

DESCRIPTION = (
    "Kernels of MODEL.CSN.TRITON and MODEL.DEFORMABLE_TRITON, and PyTorch's operators: time and "
    "share of the bandwidth."
)
# Maps of a CSN-50 for a clip of 32x256x340: (channels of the bottleneck, T, H, W, stride).
SIZES = {
    "res2": (64, 32, 64, 85, (1, 1, 1)),
    "res3": (128, 16, 32, 43, (1, 1, 1)),
    "res4": (256, 8, 16, 22, (1, 1, 1)),
    "res5": (512, 4, 16, 22, (1, 1, 1)),
    "res3 strided": (128, 32, 64, 85, (2, 2, 2)),
}
# Maps of the pyramid that D2 looks at, (height, width).
PYRAMID = [(32, 43), (16, 22), (16, 22), (8, 11)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement to the command line."""
    parser.add_argument("--batch-size", type=positive, default=8, help="clips")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument(
        "--block-numbers",
        type=positive,
        nargs="+",
        default=[1024],
        metavar="N",
        help="numbers that a program of the depthwise convolution works on; several are compared",
    )


def run(options: argparse.Namespace) -> dict:
    """Measures.

    Args:
        options: Those of :func:`add_arguments`, ``repeats`` and ``seed``.

    Returns:
        dict: ``copy_gb_per_s`` and ``cases``: ``name``, ``size``, ``milliseconds`` (see
        :func:`summary`), and ``gb``, of what a single pass reads and writes.

    Raises:
        UserError: There is no GPU or no Triton.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not availability.runs_kernels(torch.empty(0, device=device)):
        raise UserError("--task kernels needs an NVIDIA GPU and Triton, which comes with PyTorch")
    dtype, cases = getattr(torch, options.dtype), []
    for name, (channels, *sides, stride) in SIZES.items():
        maps = torch.randn(options.batch_size, *sides, channels, device=device).to(dtype)
        compared = _cases(maps, stride, options.block_numbers)
        cases += _measured(compared, name, options.repeats, device)
    compared = _attention_cases(options.batch_size, dtype, device)
    cases += _measured(compared, "encoder of D2", options.repeats, device)
    on_gpu = device.type == "cuda"
    rate = CopyRate(2**30 if on_gpu else 2**20, device).measure()
    return {"copy_gb_per_s": rate, "cases": cases}


def _measured(
    cases: dict[str, tuple[Callable[[], object], int]],
    size: str,
    repeats: int,
    device: torch.device,
) -> list[dict]:
    """Run what is compared, and return what :func:`run` says of it."""
    measured = []
    for name, (function, num_bytes) in cases.items():
        times = []
        for i in range(repeats + 1):
            with timed(device) as timing:
                function()
            if i:  # the first one compiles
                times.append(1000 * timing.wall_s)
        entry = {"name": name, "size": size, "gb": num_bytes / 1e9}
        measured.append({**entry, "milliseconds": summary(times)})
    return measured


def _attention_cases(
    batch_size: int, dtype: torch.dtype, device: torch.device
) -> dict[str, tuple[Callable[[], object], int]]:
    """Return deformable attention of all cells to all cells, projections of its inputs included."""
    cells = sum(height * width for height, width in PYRAMID)
    query = torch.randn(batch_size, cells, 256, device=device).to(dtype).requires_grad_()
    places = [
        torch.cartesian_prod(*((torch.arange(n) + 0.5) / n for n in shape)) for shape in PYRAMID
    ]
    centres = torch.cat(places).flip(-1).to(device)  # (x, y) of every cell
    references = centres[None, :, None].repeat(batch_size, 1, len(PYRAMID), 1)
    cases: dict[str, tuple[Callable[[], object], int]] = {}
    for triton, by in ((False, ", PyTorch"), (True, "")):
        attention = MultiScaleDeformableAttention(256, 8, len(PYRAMID), 4, triton)
        attention.to(device, dtype)
        read = partial(attention.sample, query, references, query, PYRAMID)
        one_pass = 2 * query.nbytes
        cases[f"deformable attention{by}"] = (torch.no_grad()(read), one_pass)
        cases[f"deformable attention, both ways{by}"] = (
            lambda read=read: torch.autograd.grad(read().sum(), query),
            3 * one_pass,
        )
    return cases


def _cases(
    maps: torch.Tensor, stride: tuple[int, int, int], block_numbers: list[int]
) -> dict[str, tuple[Callable[[], object], int]]:
    """Return what is run by name, with the bytes of one pass."""
    from tubedet.modeling.backbone.csn.cuda import depthwise as by_kernels
    from tubedet.modeling.backbone.csn.cuda.product_kernel import relu_of_product_sum
    from tubedet.modeling.backbone.csn.cuda.row_norm import AppliedNorm

    channels = maps.shape[-1]
    weight = torch.randn(channels, 1, 3, 3, 3, device=maps.device).to(maps.dtype)
    taps = by_kernels.taps_by_channel(weight, maps.dtype)
    grad = by_kernels.depthwise(maps, taps, stride)
    first = maps.permute(0, 4, 1, 2, 3).contiguous()
    rows, norm = maps.view(-1, channels), nn.BatchNorm3d(channels).to(maps.device)
    wide = torch.randn(len(rows), 4 * channels, device=maps.device).to(maps.dtype)
    matrix, bias = wide[:channels].clone(), wide[0].clone()
    one_pass = maps.nbytes + grad.nbytes

    def with_blocks(number: int, function: Callable[[], object]) -> Callable[[], object]:
        def run_it() -> object:
            before, by_kernels._BLOCK_NUMBERS = by_kernels._BLOCK_NUMBERS, number
            try:
                return function()
            finally:
                by_kernels._BLOCK_NUMBERS = before

        return run_it

    def norm_both_ways() -> None:
        applied = AppliedNorm.of(norm, rows)
        out = applied.relu(rows)
        gradients = applied.gradients(out, rows, masked=out)
        gradients.of_rows(out, rows, out=out)

    cases: dict[str, tuple[Callable[[], object], int]] = {
        "depthwise, PyTorch": (
            lambda: F.conv3d(first, weight, None, stride, 1, 1, channels),
            one_pass,
        )
    }
    for number in block_numbers:
        forward = with_blocks(number, lambda: by_kernels.depthwise(maps, taps, stride))
        cases[f"depthwise, blocks of {number}"] = (forward, one_pass)
        backward = with_blocks(
            number,
            lambda: by_kernels.depthwise_input_gradient(grad, taps, stride, maps.shape[1:4]),
        )
        cases[f"depthwise, gradient of maps, blocks of {number}"] = (backward, one_pass)
    return {
        **cases,
        "depthwise, gradient of weights": (
            lambda: by_kernels.depthwise_weight_gradient(grad, maps, stride),
            one_pass,
        ),
        "norm and ReLU, forward and backward": (norm_both_ways, 9 * maps.nbytes),
        "product, residual and ReLU, PyTorch": (
            lambda: torch.addmm(wide, rows, matrix).add_(bias).relu_(),
            maps.nbytes + 2 * wide.nbytes,
        ),
        "product, residual and ReLU": (
            lambda: relu_of_product_sum(rows, matrix, bias, wide),
            maps.nbytes + 2 * wide.nbytes,
        ),
    }


def table(result: dict) -> str:
    """Lay the result of :func:`run` out as text."""
    rate = result["copy_gb_per_s"]
    lines = [f"{'':<44}{'':<14}{'ms':>9}{'of the bandwidth':>18}"]
    for case in result["cases"]:
        milliseconds = case["milliseconds"]["median"]
        share = case["gb"] / (milliseconds / 1000) / rate
        name = f"{case['name']:<44}{case['size']:<14}"
        lines.append(f"{name}{milliseconds:>9.3f}{share:>17.0%}")
    return "\n".join(lines)
