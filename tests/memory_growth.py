"""How much memory a piece of a program takes: the peak of a fresh process."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 2**20
# Prints the peak of the memory before and after, in bytes.
PROGRAM = """
import resource, sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
{prepare}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
{work}
print(before, peak())
"""


def growth(prepare, work):
    """Bytes by which the peak of a fresh process rises."""
    program = PROGRAM.format(root=str(ROOT), prepare=prepare, work=work)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    before, after = map(int, result.stdout.split()[-2:])
    return after - before
