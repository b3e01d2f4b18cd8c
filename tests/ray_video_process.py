"""What actors of Ray do with videos in tests; they import it by its name."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tubedet.data import VideoError
from tubedet.errors import UserError
from tubedet.inference.device_faults import BrokenDeviceError


@dataclass(frozen=True)
class SlowProcess:
    """Makes results of some lines, and notes who begins and ends which.

    Attributes:
        notes: folder of the notes, ``KIND.NAME.PROCESS``.
        seconds: that a video takes.
        dies: names of videos that end the process.
        breaks: names of videos that break the device.
        breaks_once: names of videos that break the device once.
        hangs_once: names of videos that take forever once.
        unreadable: names of videos that are broken themselves.
        refuses: whether no process can be made.
    """

    notes: Path
    seconds: float = 0.0
    dies: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    breaks_once: tuple[str, ...] = ()
    hangs_once: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    refuses: bool = False

    def __call__(self, device):
        if self.refuses:
            raise UserError("on that machine: no weights")
        self.note("start", device)
        return self.process

    def process(self, job, folder):
        begun = self.count("begin", job.name)
        self.note("begin", job.name)
        for step in range(5):
            with open(folder / "rows.csv", "a") as stream:
                print(job.source, step, file=stream)
            time.sleep(self.seconds / 5)
        if job.name in self.hangs_once and not begun:
            import ray

            (self.notes / "machine").write_text(ray.get_runtime_context().get_node_id())
            time.sleep(600)
        if job.name in self.dies:
            os._exit(9)
        if job.name in self.breaks or (job.name in self.breaks_once and not begun):
            raise BrokenDeviceError("cuda works no more: CUDA error: device-side assert triggered")
        if job.name in self.unreadable:
            raise VideoError(f"{job.source}: not a single frame")
        self.note("end", job.name)
        return {"video": job.source}

    def note(self, kind, name):
        (self.notes / f"{kind}.{name}.{os.getpid()}.{time.monotonic_ns()}").touch()

    def count(self, kind, name="*"):
        return len(list(self.notes.glob(f"{kind}.{name}.*")))
