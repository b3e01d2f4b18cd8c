#!/usr/bin/env python
"""Print what tubedet requires, for pip, so that a PyTorch which is there stays as it is.

    python tools/list_requirements.py dev

A PyTorch that can be imported is named with exactly its version, whatever pyproject.toml asks for:
other packages, a detectron2 for one, may have been built against it. torchvision goes with it.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from importlib import metadata


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
    parser.add_argument("extras", nargs="*", help="of pyproject.toml, such as dev, export and web")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print a requirement per line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        int: exit status, 2 if tubedet is not installed.
    """
    options = parse_arguments(arguments)
    try:
        required = metadata.requires("tubedet")
    except metadata.PackageNotFoundError:
        print("list_requirements.py: error: install tubedet first", file=sys.stderr)
        return 2
    present = {name: present_version(name) for name in ("torch", "torchvision")}
    print(*requirements(required, options.extras, **present), sep="\n")
    return 0


def requirements(
    required: list[str], extras: list[str], *, torch: str | None, torchvision: str | None
) -> list[str]:
    """Choose and fix requirements.

    Args:
        required: of the metadata, such as ``'ruff; extra == "dev"'``.
        extras: those that are wanted.
        torch: version that is there and stays; None if there is none.
        torchvision: likewise; it stays only with its torch.

    Returns:
        requirements without spaces.
    """
    chosen = []
    for line in required:
        requirement, _, condition = (part.strip() for part in line.partition(";"))
        extra = re.search(r"""extra == ["'](.+?)["']""", condition)
        if extra and extra[1] not in extras:
            continue
        name = re.match(r"[\w.-]+", requirement)[0]
        if name == "torch" and torch:
            requirement = f"torch=={torch}"
        elif name == "torchvision" and torch and torchvision:
            continue
        elif name == "torchvision" and torch:
            requirement = name  # the release for that torch
        if condition and not extra:
            requirement += f";{condition}"
        chosen.append(requirement.replace(" ", ""))
    return chosen


def present_version(name: str) -> str | None:
    """Version of an importable package without what follows a "+"; None if there is none."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
