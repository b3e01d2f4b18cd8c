"""An editable install that any folder can import, its version and its lower bounds."""

import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import tubedet

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def editable_install(tmp_path_factory):
    """A clone named tubedet in a path with a space, and a site-packages with its editable wheel."""
    parent = tmp_path_factory.mktemp("a folder")
    clone, site = parent / "tubedet", parent / "site-packages"
    (clone / "tubedet").mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "tubedet/__init__.py"):
        shutil.copy(ROOT / name, clone / name)
    build = "from setuptools import build_meta; build_meta.build_editable('wheels')"
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True, capture_output=True)
    (wheel,) = (clone / "wheels").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return clone, site


def test_a_script_beside_the_clone_imports_the_package(editable_install):
    clone, site = editable_install
    # Where Python finds it, without importing it: PyTorch is not on this path.
    code = (
        f"import importlib.util, site, sys; sys.path.insert(0, {str(clone.parent)!r}); "
        f"site.addsitedir({str(site)!r}); print(importlib.util.find_spec('tubedet').origin)"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()) == (clone / "tubedet" / "__init__.py").resolve()


@pytest.fixture
def metadata(editable_install):
    (path,) = editable_install[1].glob("*.dist-info/METADATA")
    return Parser().parsestr(path.read_text(encoding="utf-8"))


def test_the_version_is_that_of_the_package(metadata):
    assert metadata["Version"] == tubedet.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", tubedet.__version__)


def test_every_requirement_has_a_lower_bound(metadata):
    required = metadata.get_all("Requires-Dist")
    bounds = {
        re.match(r"[\w.-]+", line)[0]: re.search(r">=([\w.]+)", line)
        for line in required
        if "extra" not in line
    }
    assert [name for name, bound in bounds.items() if bound is None] == []
    oldest = {name: tuple(map(int, bounds[name][1].split("."))) for name in ("torch", "setuptools")}
    assert oldest["torch"] >= (2, 10) and oldest["setuptools"] >= (78, 1, 1)
    assert metadata["Requires-Python"] == ">=3.10"
