"""The pages of docs/ as a site: complete, strict, and without anything from other computers."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from types import ModuleType

import pytest
import yaml
from documented_commands import ROOT

# The plain loader knows no tags of Python.
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = [page for part in SETTINGS["nav"] for pages in part.values() for page in pages]
PATHS = [path for page in PAGES for path in page.values()]
PACKAGES = re.findall(
    r"^::: (tubedet[\w.]*)$",
    "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md")),
    re.MULTILINE,
)


def test_every_page_is_in_the_navigation_once():
    written = [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")]
    assert sorted(PATHS) == sorted(written) and len(PATHS) >= 24


def test_the_reader_loads_nothing_from_other_computers():
    assert SETTINGS["theme"]["font"] is False
    assert [p if isinstance(p, str) else [*p][0] for p in SETTINGS["plugins"]] == [
        "search",
        "mkdocstrings",
    ]
    assert not {"extra_css", "extra_javascript"} & set(SETTINGS)


def test_every_public_package_has_a_part_of_the_api():
    public = [
        "tubedet." + path.parent.relative_to(ROOT / "tubedet").as_posix().replace("/", ".")
        for path in (ROOT / "tubedet").glob("*/__init__.py")
        if "__all__" in path.read_text(encoding="utf-8")
    ]
    assert set(public) <= set(PACKAGES), "give the new package a page in docs/api"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings_handlers.python", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return folder


def test_the_site_is_built_without_warnings(site):
    for path in PATHS:
        page = (site / path).with_suffix(".html").read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|img)[^>]*src=\"?https?:", page), path
        assert not re.search(r"<link[^>]*rel=\"?(?:stylesheet|preconnect)[^>]*https?:", page), path
        assert ":func:`" not in page and ":class:`" not in page, path


def test_every_public_class_and_function_is_explained(site):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    explained = set(re.findall(r'id="(tubedet[\w.]*)"', text))
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if isinstance(value, ModuleType) or not (
                inspect.isclass(value) or inspect.isroutine(value)
            ):
                continue
            known = {f"{package}.{name}", f"{value.__module__}.{name}"}
            assert known & explained, f"{package}.{name} has no docstring or no page"
