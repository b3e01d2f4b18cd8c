"""How much memory a piece of a program takes: the peak of a fresh process."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 2**20
# Prints the peak of the memory before and after, in bytes.
PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
{prepare}
def peak():
    # Of this program; what getrusage says may be that of the process which started it.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
with open("/proc/self/clear_refs", "w") as references:
    references.write("5")  # the peak is what is there now
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
    print(f"growth {(after - before) / 2**20:.1f} MB")
    return after - before
