"""Memory for large maps on CPUs: taken in large pages, given back when it is free."""

from __future__ import annotations

import ctypes
import mmap
import sys

import torch

# Below, the pages of 2 MiB that a tensor does not fill would weigh more than what is saved.
_MIN_BYTES = 1 << 23


def empty_maps(like: torch.Tensor, *size: int) -> torch.Tensor:
    """``like.new_empty(size)``, in huge pages if Linux gives them to who asks.

    A first write to fresh memory costs one interruption for each page, of 4 KiB as a rule: for maps
    of 100 MB that takes as long as the arithmetic on them.
    """
    maps = like.new_empty(size)
    if sys.platform == "linux" and maps.device.type == "cpu" and maps.nbytes >= _MIN_BYTES:
        start = -(-maps.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = maps.data_ptr() + maps.nbytes
        # Advice only: where huge pages do not exist it is refused and the memory is as good.
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_HUGEPAGE
        )
    return maps


def give_freed_memory_back() -> None:
    """Return to the system what the C library keeps of freed memory, if it is glibc."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
