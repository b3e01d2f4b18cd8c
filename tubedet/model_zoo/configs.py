"""Configs by name, wherever tubedet is installed."""

from __future__ import annotations

import difflib
from pathlib import Path

from tubedet.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed package has a copy of the folder; a clone has it beside the package.
_IS_CLONE = (_PACKAGE.parent / "pyproject.toml").is_file()
_FOLDER = (_PACKAGE.parent if _IS_CLONE else _PACKAGE) / "configs"


def get_config_file(name: str) -> str:
    """Find a config of the project by its path within ``configs``.

    Same as :func:`detectron2.model_zoo.get_config_file`.

    Args:
        name: such as "AVA/TubeR_CSN50_AVA21.yaml"; "configs/" may stand before it.

    Returns:
        path of the yaml.

    Raises:
        UserError: if there is no such config; the message names those that are alike.
    """
    relative = name.removeprefix("configs/")
    path = (_FOLDER / relative).resolve()
    if path.is_file() and path.is_relative_to(_FOLDER):
        return str(path)
    alike = difflib.get_close_matches(relative, config_names())
    advice = f"; did you mean {' or '.join(alike)}?" if alike else ""
    raise UserError(f"config file {name} does not exist, and tubedet has none of that name{advice}")


def config_names() -> list[str]:
    """List the names that :func:`get_config_file` knows."""
    paths = _FOLDER.rglob("*.yaml")
    return sorted(
        path.relative_to(_FOLDER).as_posix() for path in paths if not path.name.startswith("Base-")
    )
