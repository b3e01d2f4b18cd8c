import platform
import re
import sys
from pathlib import Path

import pytest
import torch

from tubedet.modeling.backbone.csn.large_memory import empty_maps, give_freed_memory_back

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize("size", [(0, 4), (3, 5), (1 << 20, 3)])
def test_memory_of_the_size_and_kind_asked_for(size):
    maps = empty_maps(torch.zeros(1, dtype=torch.float64), *size)
    assert maps.shape == size and maps.dtype == torch.float64 and maps.is_contiguous()
    assert maps.fill_(2).sum() == 2 * maps.numel()


@pytest.mark.skipif(
    sys.platform != "linux" or not HUGE_PAGES.exists(), reason="needs Linux with huge pages"
)
def test_large_maps_ask_for_huge_pages():
    maps = empty_maps(torch.zeros(1), 1 << 24)
    middle = maps.data_ptr() + maps.nbytes // 2
    mappings = re.findall(
        r"^([0-9a-f]+)-([0-9a-f]+) .*?^VmFlags:(.*?)$",
        Path("/proc/self/smaps").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    (flags,) = [f for start, end, f in mappings if int(start, 16) <= middle < int(end, 16)]
    assert "hg" in flags.split()


def _resident_mb():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="needs Linux with glibc"
)
def test_freed_pieces_are_given_back():
    pieces = [torch.ones(1 << 14) for _ in range(2000)]  # too small to be mapped one by one
    last = pieces[-1]
    pieces.clear()
    before = _resident_mb()
    give_freed_memory_back()
    assert _resident_mb() < before - 100
    assert last.sum() == 1 << 14
