"""The notebooks of docs/ run from top to bottom, offline, and show what they promise."""

import ast
import json
import socket

import pytest
from documented_commands import ROOT
from matplotlib import pyplot

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


def run_cell(source, name, namespace):
    """Run a cell as Jupyter does; the value of its last line if that is an expression."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    return last and eval(compile(ast.Expression(last.value), name, "eval"), namespace)


@pytest.fixture
def no_network(monkeypatch):
    def refused(*args):
        pytest.fail("a notebook asks for something from another computer")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, in which a notebook runs, also for what it writes elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stored_small_without_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert path.stat().st_size < 20_000 and len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


def test_the_notebook_on_results_runs(folder, no_network, capsys):
    (path,) = NOTEBOOKS
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    namespace = {"__name__": "__main__"}
    shown = [run_cell(text, f"cell {n}", namespace) for n, text in enumerate(code, start=1)]
    htmls = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert sum("<img src=" in text for text in htmls) == 2
    result, video = namespace["result"], namespace["video"]
    assert (result.index, result.time) == (5, 2.5) and len(result.instances) == 2
    assert len(video) == 6 and video.person_ids == [0, 1]
    assert [line[:14] for line in capsys.readouterr().out.splitlines()[:7]] == [
        *["KeyFrameResult"] * 6,
        "person 0: 0.0 ",
    ]
    assert namespace["picture"].shape == (360, 480, 3)
    assert len(namespace["axes"].get_yticks()) == 8
    pyplot.close("all")
    (lines,) = folder.glob("*/walk.jsonl")
    assert len(lines.read_text().splitlines()) == 6
