"""Names of the frames of a folder in playing order; a gap in their numbers is an error."""

from __future__ import annotations

import functools
import os
import re

import numpy as np

FRAME_EXTENSIONS = (".jpg", ".jpeg", ".png")
_NUMBERED = re.compile(rb"(.*?)([0-9]+)(\.[^.]*)")


class FrameGapError(ValueError):
    """Frames are missing from the middle of a folder; the message names the first one."""


@functools.lru_cache(maxsize=256)
def sorted_frame_names(folder: str, modified_ns: int) -> np.ndarray:
    """List the frames of a folder.

    Names that are alike but for a number are sorted by that number (``f9.jpg`` before ``f10.jpg``),
    which must rise in equal steps: after a gap every frame would be taken for an earlier one. Other
    names are sorted as they are.

    Args:
        folder: the folder.
        modified_ns: its time of modification; part of the key, so that a folder which was
            changed is listed again.

    Returns:
        bytes array (n,) (27,000 names of AVA: 0.6 MB).

    Raises:
        FrameGapError: the numbers leave a gap.
        OSError: the folder cannot be read.
    """
    del modified_ns
    with os.scandir(os.fsencode(folder)) as entries:
        names = [entry.name for entry in entries]
    extensions = tuple(extension.encode() for extension in FRAME_EXTENSIONS)
    names = sorted(n for n in names if n.lower().endswith(extensions) and not n.startswith(b"."))
    if len(names) > 1 and not _are_consecutive(names):
        names = _sorted_by_number(names)
    return np.array(names, dtype=np.bytes_)


def _are_consecutive(names: list[bytes]) -> bool:
    """Whether sorted names are ``a001.jpg``, ``a002.jpg``, ...; looks at the first and last only.

    All names in between share their width, prefix and extension then, or the count would differ.
    """
    first, last = (_NUMBERED.fullmatch(name) for name in (names[0], names[-1]))
    if first is None or last is None or len(names[0]) != len(names[-1]):
        return False
    return first[1] == last[1] and int(last[2]) - int(first[2]) + 1 == len(names)


def _sorted_by_number(names: list[bytes]) -> list[bytes]:
    matches = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    if len(matches) < len(names) or len({(match[1], match[3]) for match in matches}) > 1:
        return names
    numbered = sorted((int(match[2]), match[0]) for match in matches)
    numbers = [number for number, _ in numbered]
    steps = [after - before for before, after in zip(numbers, numbers[1:])]
    for before, step in zip(numbers, steps):
        if step != min(steps):
            expected = _name_like(matches[0], before + min(steps))
            raise FrameGapError(
                f"frame {expected} is missing: the numbers jump from {before} to {before + step}"
            )
    return [name for _, name in numbered]


def _name_like(match: re.Match, number: int) -> str:
    digits = str(number).zfill(len(match[2])).encode()
    return os.fsdecode(match[1] + digits + match[3])
