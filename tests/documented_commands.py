"""The commands and code that the documentation shows, as a reader would copy them."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# Folders of data sets may hold documents of their own.
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "datasets").glob("*.md"),
        *(
            path
            for folder in ("configs", "docs", "tools")
            for path in (ROOT / folder).rglob("*.md")
        ),
    ]
)
PROGRAMS = sorted([*(ROOT / "tools").glob("*.py"), *(ROOT / "datasets").glob("*.py")])
COMMAND_MODULES = sorted((ROOT / "tubedet/cli").glob("*.py"))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """A command with its program, and the line at which it or its block stands."""

    document: str
    line: int
    words: list[str]

    def __str__(self):
        return f"{self.document}:{self.line}: {shlex.join(self.words)}"


class Block(NamedTuple):
    """A fenced block: line of its first line, language and text."""

    document: str
    line: int
    language: str
    text: str


def blocks(document: Path) -> Iterator[Block]:
    """The fenced blocks of a markdown file."""
    text = document.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text[: match.start(2)].count("\n") + 1
        yield Block(_name(document), line, match[1], match[2])


def fenced_commands(document: Path) -> Iterator[Command]:
    """What stands in the blocks of a shell."""
    for block in blocks(document):
        if block.language == "sh":
            yield from _commands(block.document, block.line, block.text)


def inline_code(document: Path) -> Iterator[tuple[int, str]]:
    """Line and text of what stands between single backticks, line breaks as spaces."""
    text = document.read_text(encoding="utf-8")
    # Blocks keep their place as empty lines.
    text = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in re.finditer(r"`([^`]+)`", text):
        yield text[: match.start()].count("\n") + 1, " ".join(match[1].split())


def inline_commands(document: Path) -> Iterator[Command]:
    """Commands in running text; the brackets of optional parts are left out."""
    for line, code in inline_code(document):
        if code.startswith(
            ("python ", "make ", "pip ", "torchrun ", "srun ", "mpirun ", "tubedet ")
        ):
            words = shlex.split(re.sub(r"\[(--[^]]*)\]", r"\1", code))
            yield Command(_name(document), line, words)


def docstring_commands(program: Path) -> Iterator[Command]:
    """The indented examples at the head of a program."""
    docstring = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or ""
    examples = re.findall(r"^    (?:.*\\\n)*.*$", docstring, re.MULTILINE)
    for command in _commands(_name(program), 1, "\n".join(examples)):
        if command.words[0] in ("python", "pip", "make", "torchrun", "tubedet"):
            yield command


def _commands(document: str, line: int, text: str) -> Iterator[Command]:
    """One per line, or per several that end with a backslash."""
    for match in re.finditer(r"(?:.*\\\n)*.*\n?", text):
        words = shlex.split(match[0].replace("\\\n", " "), comments=True)
        if words:
            yield Command(document, line + text[: match.start()].count("\n"), words)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_page(page: Path, folder: Path, last_line: str, **environment: str) -> str:
    """Run the Python code of a page in another process, and return the last line that it prints.

    Args:
        page: the page; its blocks are run in order.
        folder: where it runs; gets a link to ``configs``.
        last_line: code behind that of the page.
        **environment: further variables.
    """
    (folder / "configs").symlink_to(ROOT / "configs")
    # Lines keep their numbers, so that a failure names the one of the page.
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    for block in blocks(page):
        if block.language == "python":
            code = block.text.splitlines()
            lines[block.line - 1 : block.line - 1 + len(code)] = code
    script = folder / "code_of_the_page.py"
    script.write_text("\n".join([*lines, last_line]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
