"""What tools/install.sh and its helpers do around pip; pip itself is a stand-in."""

import importlib.machinery
import importlib.util
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIRED = ["av>=14", "torch>=2.10", "torchvision>=0.25", "setuptools<82, >=78.1.1"]
REQUIRED += ['pytest; extra == "dev"', 'gradio>=6.31; extra == "web"']


def _tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lister():
    return _tool("list_requirements")


@pytest.fixture(scope="module")
def installer():
    return _tool("install_detectron2")


@pytest.mark.parametrize(
    "torch, torchvision, expected",
    [
        (None, None, ["torch>=2.10", "torchvision>=0.25"]),
        ("2.6.0", "0.21.0", ["torch==2.6.0"]),
        ("2.6.0", None, ["torch==2.6.0", "torchvision"]),
        (None, "0.21.0", ["torch>=2.10", "torchvision>=0.25"]),
    ],
)
def test_a_torch_that_is_there_is_asked_for_as_it_is(lister, torch, torchvision, expected):
    chosen = lister.requirements(REQUIRED, ["dev"], torch=torch, torchvision=torchvision)
    assert chosen == ["av>=14", *expected, "setuptools<82,>=78.1.1", "pytest"]


def test_conditions_other_than_extras_are_kept(lister):
    required = ['tomli>=2; python_version < "3.11"']
    chosen = lister.requirements(required, [], torch=None, torchvision=None)
    assert chosen == ['tomli>=2;python_version<"3.11"']


def test_the_version_of_what_is_there(lister):
    import torch

    assert lister.present_version("torch") == torch.__version__.partition("+")[0]
    assert lister.present_version("no_such_package") is None


def _unpacked(folder):
    """What pip makes of the repack."""
    for name in ("detectron2", "tools", "sal_detectron2-0.7.2.dist-info"):
        (folder / name).mkdir(parents=True)
    (folder / "detectron2/__init__.py").write_text('__version__ = "0.7.2"\n')
    (folder / "tools/__init__.py").touch()
    metadata = folder / "sal_detectron2-0.7.2.dist-info"
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: sal-detectron2\nVersion: 0.7.2\nRequires-Dist: numpy<2\n"
        "Requires-Dist: black\nProvides-Extra: all\n\nText.\n"
    )
    (metadata / "WHEEL").write_text("Wheel-Version: 1.0\nTag: cp310-cp310-linux_x86_64\n\n")
    (metadata / "RECORD").write_text(
        "detectron2/__init__.py,sha256=x,1\ntools/__init__.py,sha256=x,0\n"
        "sal_detectron2-0.7.2.dist-info/METADATA,sha256=x,9\n"
        "sal_detectron2-0.7.2.dist-info/WHEEL,sha256=x,9\n"
        "sal_detectron2-0.7.2.dist-info/RECORD,,\n"
    )


def test_the_repack_comes_without_its_requirements_and_its_package_tools(installer, tmp_path):
    _unpacked(tmp_path / "unpacked")
    target = tmp_path / "site-packages"
    installer.place(tmp_path / "unpacked", target)
    metadata = target / "sal_detectron2-0.7.2.dist-info"
    assert sorted(path.name for path in target.iterdir()) == ["detectron2", metadata.name]
    assert (metadata / "METADATA").read_text() == (
        "Metadata-Version: 2.1\nName: sal-detectron2\nVersion: 0.7.2\n\nText.\n"
    )
    assert (metadata / "WHEEL").read_text() == "Wheel-Version: 1.0\nTag: py3-none-any\n\n"
    assert "sal_detectron2-0.7.2.dist-info/WHEEL,,\n" in (metadata / "RECORD").read_text()
    recorded = [line.split(",")[0] for line in (metadata / "RECORD").read_text().splitlines()]
    assert sorted(recorded) == sorted(
        str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()
    )


def test_nothing_that_is_in_the_way_is_replaced(installer, tmp_path):
    _unpacked(tmp_path / "unpacked")
    target = tmp_path / "site-packages"
    (target / "detectron2").mkdir(parents=True)
    with pytest.raises(installer.InstallationError, match=r"detectron2 is in the way; remove it"):
        installer.place(tmp_path / "unpacked", target)
    assert list((target / "detectron2").iterdir()) == []


@pytest.fixture
def run_installer(installer, monkeypatch, tmp_path, capsys):
    """Runs the tool with the detectron2 of ``tmp_path`` and a pip that fails.

    Returns exit status, standard output and standard error.
    """

    def fail(command, **_):
        assert command[1:4] == ["-m", "pip", "install"]
        return subprocess.CompletedProcess(command, 7)

    def run():
        status = installer.main(["--target", str(tmp_path / "site-packages")])
        assert not (tmp_path / "site-packages").exists()
        return status, *capsys.readouterr()

    others = {name for name in sys.modules if name.partition(".")[0] == "detectron2"}
    for name in others:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "argv", ["tool"])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [importlib.machinery.PathFinder])
    monkeypatch.setattr(subprocess, "run", fail)
    yield run
    sys.modules.pop("detectron2", None)


def test_an_importable_detectron2_is_used_as_it_is(run_installer, tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text('__version__ = "0.6"')
    assert run_installer() == (0, "detectron2 0.6 is there already\n", "")


def test_a_folder_named_detectron2_is_none(run_installer, tmp_path):
    (tmp_path / "detectron2").mkdir()
    assert run_installer() == (2, "", "tool: error: pip ended with status 7\n")


def test_a_detectron2_that_cannot_be_imported_is_named(run_installer, tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("import no_such_package")
    reason = "ModuleNotFoundError: No module named 'no_such_package'"
    message = f"{tmp_path}/detectron2/__init__.py cannot be imported ({reason}); mend or remove it"
    assert run_installer() == (2, "", f"tool: error: {message}\n")


def test_the_script_installs_tubedet_alone_and_then_what_is_missing(tmp_path):
    """With a Python that only notes what it would do."""
    calls = tmp_path / "calls.txt"
    python = tmp_path / "python"
    python.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >> '{calls}'
case "$*" in
    *purelib*) echo '{tmp_path}' ;;
    *sys.prefix*) echo prefix ;;
    *list_requirements*) printf 'av>=14\\ntorch==2.6.0\\nruff\\n' ;;
esac
"""
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    command = ["sh", "tools/install.sh", str(python), ""]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    pip = "-m pip install -qq --disable-pip-version-check"
    made = calls.read_text().splitlines()
    steps = [line for line in made if "pip install" in line or "tools/" in line]
    assert steps == [
        f"{pip} --no-deps --editable .",
        "tools/list_requirements.py dev",
        f"{pip} av>=14 torch==2.6.0 ruff",
        "-W ignore tools/install_detectron2.py",
    ]
    calls.unlink()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert "pip" not in calls.read_text()  # the second run is quick
