"""Everything else builds on these modules."""

import ast
from pathlib import Path

import pytest

import tubedet.files

MODULES = sorted(Path(tubedet.files.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_else_of_tubedet_is_imported(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            imported.add("" if node.level else node.module)
    others = {"torch", "detectron2", "tubedet"}
    assert {name.partition(".")[0] for name in imported}.isdisjoint(others)


def test_all_modules_are_looked_at():
    assert len(MODULES) >= 6
