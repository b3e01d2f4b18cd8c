"""A Triton kernel that shows whether Triton can compile and launch one here."""

import torch
import triton
import triton.language as tl


@triton.jit
def write_one(out):
    """Write 1 to a number."""
    tl.store(out, 1.0)


def launch_trial(device: torch.device) -> None:
    """Compile a kernel and launch it.

    Args:
        device: a GPU.

    Raises:
        Exception: what Triton raises, for instance where there is no C compiler.
    """
    with torch.cuda.device(device):
        write_one[(1,)](torch.zeros(1, device=device))
