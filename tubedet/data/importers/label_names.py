"""Read the names of classes by number: ``label_map.txt``, ``labels.txt`` or a pbtxt of AVA."""

from __future__ import annotations

import re
from pathlib import Path

from tubedet.data.annotations.ava_csv import MAX_LABEL_MAP, read_label_map
from tubedet.data.annotations.text import AnnotationError, open_text

_NUMBERED = re.compile(r"(\d{1,6})\s*:\s*(.+)", re.ASCII)
_PBTXT = re.compile(r"\s*(#.*\n\s*)*(item|label)\s*\{")


def read_label_names(path: Path) -> dict[int, str]:
    """Read one of the three forms.

    Lines are ``1: walk``, as in the label maps of MMAction2, or a name alone, as in the
    ``labels.txt`` of CVAT's MOT export, where the first one has the number 1. Empty lines, and
    those that begin with #, do not count.

    Args:
        path: the file.

    Returns:
        name by number, in the order of the numbers.

    Raises:
        AnnotationError: if a line has neither form, a name or number occurs twice, or there is
            none.
        OSError: if the file cannot be read.
    """
    with open_text(path) as stream:
        text = stream.read(MAX_LABEL_MAP + 1)
    if len(text) > MAX_LABEL_MAP:
        raise AnnotationError(f"{path}: more than {MAX_LABEL_MAP:,} characters: are these names?")
    if _PBTXT.match(text):
        return dict(sorted(read_label_map(path).items()))
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise AnnotationError(f"{path}: no names")
    are_numbered = _NUMBERED.fullmatch(lines[0][1]) is not None
    names: dict[int, str] = {}
    known: set[str] = set()
    for number, line in lines:
        found = _NUMBERED.fullmatch(line)
        if (found is not None) != are_numbered:
            raise AnnotationError(
                f"{path}:{number}: {line[:80]!r}, expected a line such as 1: walk"
            )
        class_id, name = (int(found[1]), found[2]) if found else (len(names) + 1, line)
        if class_id in names or name in known:
            raise AnnotationError(f"{path}:{number}: {line[:80]!r} occurs twice")
        names[class_id] = name
        known.add(name)
    return dict(sorted(names.items()))
