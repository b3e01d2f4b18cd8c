"""The formats that can be imported, and guessing which one a file has."""

from __future__ import annotations

from pathlib import Path

from tubedet.data.annotations.text import AnnotationError, open_unpacked
from tubedet.errors import UserError

from .act_pickle import ACT_PICKLE
from .ava_kinetics import AVA_KINETICS
from .coco_video import COCO_VIDEO
from .cvat import CVAT
from .label_studio import LABEL_STUDIO
from .labels import ImportFormat
from .mmaction2 import MMACTION2
from .mot import MOT
from .via3 import VIA3

FORMATS: dict[str, ImportFormat] = {
    f.name: f
    for f in (
        CVAT,
        COCO_VIDEO,
        VIA3,
        LABEL_STUDIO,
        MOT,
        ACT_PICKLE,
        MMACTION2,
        AVA_KINETICS,
    )
}
_HEAD_BYTES = 1 << 16


def guess_format(path: Path) -> tuple[ImportFormat, str]:
    """Recognise the format of a file.

    Args:
        path: the file, plain or gzip-compressed.

    Returns:
        the format, and what it was recognised by, such as "an element <annotations>".

    Raises:
        AnnotationError: if no format, or more than one, is recognised.
        OSError: if the file cannot be read.
    """
    signs = {name: FORMATS[name].sign(path, _head(path)) for name in FORMATS}
    found = [name for name, sign in signs.items() if sign]
    if len(found) != 1:
        problem = f"this may be {' or '.join(found)}" if found else "the format is not recognised"
        raise AnnotationError(
            f"{path}: {problem}; name it before the files: one of {', '.join(found or FORMATS)}"
        )
    return FORMATS[found[0]], signs[found[0]]


def find_format(name: str) -> ImportFormat:
    """Return the format of a name.

    Args:
        name: as on the command line.

    Raises:
        UserError: if there is none.
    """
    if name not in FORMATS:
        raise UserError(f"no format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def _head(path: Path) -> str:
    """First characters of a file, as far as they are text."""
    try:
        with open_unpacked(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except AnnotationError:  # its reader says what is broken
        head = b""
    return head.decode("utf-8-sig", errors="replace")
