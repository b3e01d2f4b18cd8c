"""Which module imports which: without cycles, and from lower packages only."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom to the top: a package imports from those before it only.
LAYERS = (
    "errors",
    "parent_process",
    "third_party_warnings",
    "console_log",
    "agreement",
    "files",
    "model_zoo",
    "architecture_config",
    "config",
    "layers",
    "modeling",
    "checkpoint",
    "data",
    "evaluation",
    "engine",
    "inference",
    "export",
    "web",
    "cli",
)


def _imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of tubedet that a file imports, whatever the place in it; not for types alone."""
    package = path.relative_to(ROOT).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*above, *([node.module] if node.module else [])])
            members = {f"{name}.{alias.name}" for alias in node.names}
            found |= (members & modules) or {name}
    return found & modules


@pytest.fixture(scope="module")
def graph():
    """Module -> the modules that it imports; an ``__init__`` has the name of its package."""
    paths = {}
    for path in (ROOT / "tubedet").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(paths) > 150
    return {name: _imports(path, set(paths)) for name, path in paths.items()}


def test_no_module_imports_itself_through_others(graph):
    # The names of the whole package are imported by modules of it for its version alone.
    without_root = {name: found - {"tubedet"} for name, found in graph.items()}
    try:
        tuple(TopologicalSorter(without_root).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_packages_import_from_lower_ones_only(graph):
    ranks = {name: rank for rank, name in enumerate(LAYERS)}
    wrong = [
        f"{name} imports {other}"
        for name, found in graph.items()
        for other in found - {"tubedet"}
        if name != "tubedet" and ranks[other.split(".")[1]] > ranks[name.split(".")[1]]
    ]
    assert wrong == []
    assert {name.split(".")[1] for name in graph if name != "tubedet"} == set(LAYERS)


def test_a_cycle_would_be_found(graph):
    broken = {**graph, "tubedet.errors": {"tubedet.cli.running"}}
    with pytest.raises(AssertionError):
        test_packages_import_from_lower_ones_only(broken)
    with pytest.raises(pytest.fail.Exception, match="tubedet.cli.running"):
        test_no_module_imports_itself_through_others(broken)


def test_the_package_alone_needs_no_drawing():
    """It takes part of a second, and detection in a program does not draw."""
    program = "import sys, tubedet; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
