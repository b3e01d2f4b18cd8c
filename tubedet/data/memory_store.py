"""What a model saw in each second of a video, in a file a video: written once, read in trainings.

Long-term feature banks (https://arxiv.org/abs/1812.05038) are such a store, too.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tubedet.errors import UserError
from tubedet.files.atomic_writing import open_atomically

SUFFIX = ".memory.safetensors"
# Half a frame at 500 frames a second: times of one key frame, written and asked for, differ less.
_TOLERANCE = 1e-3
_FORMAT = "tubedet memory 1"


class Memory(NamedTuple):
    """Persons of some seconds, in the order of time.

    Attributes:
        vectors: float16 (M, D), the features of persons.
        times: float64 (M,), seconds since the first frame of the video.
        scores: float16 (M,), the probabilities of the persons.
    """

    vectors: torch.Tensor
    times: torch.Tensor
    scores: torch.Tensor


def write_memory(path: str | PathLike, memory: Memory, *, model: str) -> None:
    """Write the memory of a video, whole or not at all.

    Args:
        path: the file, named after the video and with :data:`SUFFIX`; its folder must exist.
        memory: persons of the whole video.
        model: what identifies the weights that saw it, see
            :func:`~tubedet.modeling.memory_weights.base_fingerprint`.
    """
    order = memory.times.argsort(stable=True)
    tensors = {name: value[order].contiguous() for name, value in memory._asdict().items()}
    content = save(tensors, {"format": _FORMAT, "model": model})
    with open_atomically(path, "wb") as stream:
        stream.write(content)


class MemoryStore:
    """A folder of memories.

    Of a file only the rows that are asked for are read. A folder that ``tubedet build-memory``
    wrote has a folder for each video, which is looked into, too.

    Args:
        folder: where the files are.

    Raises:
        UserError: if there is no such folder.
    """

    def __init__(self, folder: str | PathLike):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(
                f"MODEL.MEMORY.STORE is {str(folder)!r}, which is no folder; write one with "
                "`tubedet build-memory`"
            )
        self._times: dict[Path, np.ndarray] = {}

    def path(self, video: str) -> Path:
        """Return the file of a video.

        Args:
            video: its name.

        Raises:
            UserError: if there is none.
        """
        name = f"{video}{SUFFIX}"
        for path in (self.folder / name, self.folder / video / name):
            if path.is_file():
                return path
        raise UserError(
            f"{self.folder} has no memory of video {video!r}; `tubedet build-memory` adds what "
            "is missing"
        )

    def around(self, video: str, time: float, *, before: float, after: float) -> Memory:
        """Read what was seen around a time.

        Args:
            video: name of the video.
            time: seconds since its first frame.
            before: seconds before that time from which on persons are wanted.
            after: seconds after it up to which they are wanted.

        Raises:
            UserError: if there is no such file, or it is damaged.
        """
        path = self.path(video)
        with _opened(path) as file:
            times = self._times.get(path)
            if times is None:
                times = self._times[path] = file.get_tensor("times").numpy()
            first = int(np.searchsorted(times, time - before - _TOLERANCE))
            last = int(np.searchsorted(times, time + after + _TOLERANCE, side="right"))
            return Memory(*(file.get_slice(name)[first:last] for name in Memory._fields))

    def model(self, video: str) -> str:
        """Return what identifies the weights that saw a video.

        Args:
            video: its name.

        Raises:
            UserError: see :meth:`around`.
        """
        with _opened(self.path(video)) as file:
            return file.metadata()["model"]


def _opened(path: Path):
    try:
        file = safe_open(path, "pt")
        if (file.metadata() or {}).get("format") == _FORMAT:
            return file
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and build it again") from error
    raise UserError(f"{path} is no memory that tubedet wrote; delete it and build it again")


class MemoryBuilder:
    """Collects the memory of a video from its key frames, in the order of time.

    At most one key frame a second counts, the first one of that second.

    Args:
        persons_per_second: most persons of a key frame; the surest ones.
        person_thresh: their least probability.
    """

    def __init__(self, *, persons_per_second: int = 5, person_thresh: float = 0.5):
        self.persons_per_second = persons_per_second
        self.person_thresh = person_thresh
        self._second: int | None = None

    def chosen(self, time: float, features: torch.Tensor, scores: torch.Tensor) -> Memory | None:
        """Return what is to be remembered of a key frame; None: its second had one already.

        Args:
            time: of the key frame, seconds since the first frame of the video; no earlier than
                that of the one before.
            features: (Q, D) of persons.
            scores: (Q,), their probabilities.
        """
        second = int(np.floor(time + _TOLERANCE))
        if second == self._second:
            return None
        self._second = second
        rows = scores.argsort(descending=True, stable=True)[: self.persons_per_second]
        rows = rows[scores[rows] >= self.person_thresh]
        times = torch.full((len(rows),), time, dtype=torch.float64)
        return Memory(features[rows].half().cpu(), times, scores[rows].half().cpu())


def joined(memories: list[Memory], feature_dim: int) -> Memory:
    """Return several memories as one.

    Args:
        memories: any number.
        feature_dim: D, for the case that there is none.
    """
    nothing = Memory(
        torch.zeros(0, feature_dim, dtype=torch.float16),
        torch.zeros(0, dtype=torch.float64),
        torch.zeros(0, dtype=torch.float16),
    )
    return Memory(*(torch.cat(parts) for parts in zip(nothing, *memories)))
