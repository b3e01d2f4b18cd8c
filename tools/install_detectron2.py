#!/usr/bin/env python
"""Install a repack of detectron2's Python files, unless detectron2 is there already.

    python tools/install_detectron2.py

detectron2 has no release on PyPI; requirements-detectron2.txt names the repack and its hash. Its
wheel is tagged for one version of Python, but tubedet needs none of its compiled operators.

Only the package detectron2 is installed: the repack also has a package "tools", which would hide
every folder of that name. Its requirements (an old numpy, a code formatter) and its version of
Python are left out of its metadata, because pip would report them as conflicts; pyproject.toml
lists what detectron2 imports.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements-detectron2.txt"


class InstallationError(Exception):
    """detectron2 cannot be installed here."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--target",
        type=Path,
        default=Path(sysconfig.get_paths()["purelib"]),
        help="folder to install into (default: site-packages of this Python)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Install, and say what is there.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        int: exit status, 2 if nothing could be installed.
    """
    options = parse_arguments(arguments)
    try:
        version = present_version()
        if version is not None:
            print(f"detectron2 {version} is there already")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            download(Path(folder))
            place(Path(folder), options.target)
    except (InstallationError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        return 2
    print(f"detectron2 is in {options.target}")
    return 0


def present_version() -> str | None:
    """Version of the detectron2 that can be imported; None if there is none.

    Raises:
        InstallationError: if there is one that cannot be imported.
    """
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:  # a mere folder of that name has no origin
        return None
    try:
        return importlib.import_module("detectron2").__version__
    except Exception as error:  # whatever a damaged or outdated build raises
        raise InstallationError(
            f"{spec.origin} cannot be imported ({type(error).__name__}: {error}); mend or remove it"
        ) from error


def download(folder: Path) -> None:
    """Let pip unpack the repack.

    Args:
        folder: empty; where to.

    Raises:
        InstallationError: if pip fails, which then has said why.
    """
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", "3.10", "--target", str(folder)]
    status = subprocess.run([*command, "--requirement", str(REQUIREMENTS)]).returncode
    if status:
        raise InstallationError(f"pip ended with status {status}")


def place(unpacked: Path, target: Path) -> None:
    """Move detectron2 and its metadata, without its requirements, to where Python finds them.

    Args:
        unpacked: what pip installed into an empty folder.
        target: a folder of ``sys.path``.

    Raises:
        InstallationError: if something is in the way, or the repack is not what it was.
        OSError: if the folder cannot be written.
    """
    package, metadata = unpacked / "detectron2", next(unpacked.glob("*.dist-info"), None)
    if metadata is None or not package.is_dir():
        raise InstallationError(f"{REQUIREMENTS.name} names no detectron2")
    for path in (package, metadata):
        if (target / path.name).exists():
            raise InstallationError(f"{target / path.name} is in the way; remove it")
    _rewrite(metadata / "METADATA", drop=("Requires-Dist:", "Provides-Extra:"))
    # Installed are Python files for every version, which `pip check` would doubt.
    _rewrite(metadata / "WHEEL", drop=("Tag:",), add=("Tag: py3-none-any",))
    # What `pip uninstall` removes; changed files stand there without their hashes.
    changed = tuple(f"{metadata.name}/{name}," for name in ("METADATA", "WHEEL"))
    added = tuple(f"{line}," for line in changed)
    _rewrite(metadata / "RECORD", drop=("tools/", *changed), add=added)
    target.mkdir(parents=True, exist_ok=True)
    shutil.move(metadata, target)
    shutil.move(package, target)


def _rewrite(path: Path, *, drop: tuple[str, ...], add: tuple[str, ...] = ()) -> None:
    """Leave out the header lines that begin with ``drop``, and put ``add`` in their place."""
    header, blank, body = path.read_text(encoding="utf-8").partition("\n\n")
    lines = [line for line in header.splitlines() if not line.startswith(drop)]
    text = "\n".join([*lines, *add]) + (blank + body if blank else "\n")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
