"""A disk that is full after some bytes, for code that opens files itself."""

import builtins
import errno
import io
import os


class _FullFile(io.FileIO):
    """A file that takes so many bytes."""

    room = 0

    def write(self, data):
        if len(memoryview(data).cast("B")) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(memoryview(data).cast("B"))
        return super().write(data)


def fill_disk(monkeypatch, module, *, room=0):
    """Lets every file that a module opens for writing take only so many bytes.

    Args:
        monkeypatch: takes it back.
        module: its calls of ``open`` are meant.
        room: bytes for each file.
    """

    def open_on_full_disk(path, mode="r", **options):
        if "w" not in mode:
            return builtins.open(path, mode, **options)
        raw = _FullFile(path, "w")
        raw.room = room
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **options)

    monkeypatch.setattr(module, "open", open_on_full_disk, raising=False)
