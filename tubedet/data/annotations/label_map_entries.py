"""The entries of a label map, as text: pbtxt, or lines of "id: name"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .text import AnnotationError

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*|[,;])
    |(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<sign>[{}<>:])
    |(?P<word>[^\s,;{}<>:"'\#]+)
    |(?P<stray>.)""",
    re.VERBOSE,
)
_LINE = re.compile(r"\s*(\d+)\s*:\s*(\S.*?)\s*$")
_MAX_SHOWN = 80  # characters, in messages
_CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True)
class LabelMapEntry:
    """One class of a label map.

    Attributes:
        line: where it begins, from 1.
        name: of the class, or None if the entry has none.
        id: as written, or None if the entry has none.
    """

    line: int
    name: str | None
    id: str | None


def label_map_entries(text: str, source: str) -> Iterator[LabelMapEntry]:
    """Find the entries of a label map.

    Understood are ``item { name: "sit" id: 11 }``, ``label { name: "sit" label_id: 11 }`` and
    ``11: sit``, the lines of mmaction2. Comments begin with ``#``.

    Args:
        text: of the whole file.
        source: what messages call the file.

    Yields:
        LabelMapEntry: one for each class.

    Raises:
        AnnotationError: if something else is between the entries.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(number, line) for number, line in lines if not line.lstrip().startswith("#")]
    if lines and _LINE.match(lines[0][1]):
        yield from _entries_of_lines(lines, source)
    else:
        yield from _entries_of_pbtxt(text, source)


def _entries_of_lines(lines: list[tuple[int, str]], source: str) -> Iterator[LabelMapEntry]:
    for number, line in lines:
        match = _LINE.match(line)
        if match is None:
            raise AnnotationError(
                f"{source}:{number}: expected the number of a class and its name, such as "
                f"'1: walk', got {line.strip()[:_MAX_SHOWN]!r}"
            )
        yield LabelMapEntry(number, match[2], match[1])


def _entries_of_pbtxt(text: str, source: str) -> Iterator[LabelMapEntry]:
    # One token after the other: all of them take 200 times the memory of the text.
    tokens = (match for match in _TOKEN.finditer(text) if match.lastgroup != "skip")
    line, counted = 1, 0
    for first in tokens:
        start = first.start()
        line += text.count("\n", counted, start)
        counted = start
        shown = text[start : start + _MAX_SHOWN].splitlines()[0].strip()
        stray = AnnotationError(
            f"{source}:{line}: {shown!r} is no complete 'item {{...}}' or 'label {{...}}' entry "
            "of a label map"
        )
        token = next(tokens, None)
        if token is not None and token[0] == ":":
            token = next(tokens, None)
        closing = _CLOSING.get(token[0]) if token is not None else None
        if first[0] not in ("item", "label") or closing is None:
            raise stray
        fields: dict[str, str] = {}
        token = next(tokens, None)
        while token is not None and token[0] != closing:
            colon, value = next(tokens, None), next(tokens, None)
            if token.lastgroup != "word" or colon is None or colon[0] != ":":
                raise stray
            if value is None or value.lastgroup not in ("word", "string"):
                raise stray
            fields.setdefault(token[0], _value(value))
            token = next(tokens, None)
        if token is None:
            raise stray
        name = fields.get("name") or fields.get("display_name")
        yield LabelMapEntry(line, name, fields.get("id", fields.get("label_id")))


def _value(token: re.Match[str]) -> str:
    if token.lastgroup == "word":
        return token[0]
    return re.sub(r"\\(.)", r"\1", token[0][1:-1])
