"""Compile all kernels as they are launched at full size, for a GPU that need not be there.

    python compile_kernels.py DTYPE CAPABILITY

Prints one line per kernel: name, registers of a thread and bytes that do not fit into them.
"""

import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from tubedet.layers.cuda import availability, deformable
from tubedet.modeling.backbone.csn.csn import Bottleneck, Stem
from tubedet.modeling.backbone.csn.cuda import inference, training

TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.uint8: "*u8",
}
ALIGNED = [["tt.divisibility", 16]]
DTYPE, CAPABILITY = getattr(torch, sys.argv[1]), int(sys.argv[2])
RESOURCES = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def note(launched, kernel, *arguments, grid, warmup=False, **named):
    """Keep what Triton would compile for a launch instead of compiling and launching it."""
    options = {"num_warps": named.pop("num_warps")} if "num_warps" in named else {}
    signature, constants, attributes = {}, {}, {}
    for i, (parameter, value) in enumerate(zip(kernel.params, arguments, strict=True)):
        name = parameter.name
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name], attributes[(i,)] = TYPES[value.dtype], ALIGNED
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            assert value < 2**31
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[(i,)] = ALIGNED
    key = (kernel.__name__, *signature.items(), *constants.items(), *attributes)
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    launched.setdefault(key, (source, options))


def run_all_parts():
    """Train and prepare a stem, a block and a strided block, without memory for their maps."""
    availability.runs_kernels = lambda x: True
    training.compute_dtype = inference.compute_dtype = lambda x: DTYPE
    torch._addmm_activation = lambda bias, rows, matrix: torch.addmm(bias, rows, matrix)
    with torch.device("meta"):
        how = {"norm": "BN", "execution": "fused", "triton": True}
        stem = Stem(64, **how), torch.empty(8, 3, 32, 256, 340)
        block = Bottleneck(256, 64, (1, 1, 1), False, **how), torch.empty(8, 256, 32, 64, 85)
        last = Bottleneck(2048, 512, (1, 1, 1), False, **how), torch.empty(2, 2048, 4, 16, 22)
        strided = Bottleneck(256, 128, (2, 2, 2), True, **how), torch.empty(8, 256, 32, 64, 85)
    for part, x in (stem, block, last, strided):
        if part is not stem[0]:
            x.requires_grad_()
        part(x).sum().backward()
        part.eval().for_inference()(x.detach())


def read_all_maps():
    """Deformable attention to a pyramid of maps, at points and boxes, and to one of a video."""
    sizes = [(64, 85), (32, 43), (16, 22), (8, 11)]
    kinds = {"points": (2, 1), "boxes": (4, 1), "video": (3, 16)}
    deformable._level_table = lambda *key: torch.empty(4, 7, device="meta")
    with torch.device("meta"):
        for reference_dim, steps in kinds.values():
            axes = 3 if steps > 1 else 2
            shapes = [(steps, *size)[-axes:] for size in sizes]
            cells = sum(math.prod(shape) for shape in shapes)
            rows, offsets, logits = (
                torch.empty(2, *size, dtype=DTYPE, requires_grad=True)
                for size in ((cells, 8, 32), (300, 8, 4, 4, axes), (300, 8, 4, 4))
            )
            references = torch.empty(2, 300, 4, reference_dim, requires_grad=True)
            units = [(1.0,) * axes] * 4
            deformable.read_points(
                rows, offsets, logits, references, shapes, units
            ).sum().backward()


def main():
    launched = {}
    JITFunction.run = lambda kernel, *args, **named: note(launched, kernel, *args, **named)
    run_all_parts()
    read_all_maps()
    for source, options in launched.values():
        target = GPUTarget("cuda", CAPABILITY, 32)
        kernel = triton.compile(source, target=target, options=options)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(kernel.asm["cubin"])
            command = [RESOURCES, "-res-usage", file.name]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", said).groups()
        print(source.fn.__name__, registers, stack)


if __name__ == "__main__":
    main()
