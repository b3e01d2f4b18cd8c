"""Memory for large maps on CPUs: taken in large pages, given back when it is free."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys

import torch

# Below, the pages of 2 MiB that a tensor does not fill would weigh more than what is saved.
_MIN_BYTES = 1 << 23


def empty_maps(like: torch.Tensor, *size: int) -> torch.Tensor:
    """``like.new_empty(size)``, in huge pages if Linux gives them on request.

    The first write to fresh memory costs a page fault for every 4 KiB: for maps of 100 MB that
    takes as long as the arithmetic on them.
    """
    maps = like.new_empty(size)
    if sys.platform == "linux" and maps.device.type == "cpu" and maps.nbytes >= _MIN_BYTES:
        start = -(-maps.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = maps.data_ptr() + maps.nbytes
        # Advice only: where huge pages do not exist it is refused and the memory is as good.
        _c_library().madvise(
            ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_HUGEPAGE
        )
    return maps


def give_freed_memory_back() -> None:
    """Return to the system what glibc, if that is used, keeps of the process's freed memory."""
    if sys.platform == "linux" and hasattr(_c_library(), "malloc_trim"):
        _c_library().malloc_trim(0)


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
