"""Files that are read, which no output may replace."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.errors import UserError

_MAX_YAML_BYTES = 1 << 18


def input_files(dataset: str) -> list[str]:
    """List the files of a data set; they need not exist.

    Args:
        dataset: registered name, or path of a yaml, which may be wrong: its reader tells.

    Returns:
        The yaml and every path in it, or the files that a data set in the format of AVA was
        registered with.
    """
    if os.path.isfile(dataset):
        return [dataset, *_values_as_paths(dataset)]
    if dataset not in DatasetCatalog.list():
        return []
    files = MetadataCatalog.get(dataset).get("ava_files")
    return [] if files is None else [v for v in asdict(files).values() if isinstance(v, str)]


def check_output_file(path: Path, inputs: Iterable[str | os.PathLike]) -> None:
    """Make sure that a file can be written without loss, before the work whose result it is.

    Args:
        path: the file.
        inputs: files that must stay.

    Raises:
        UserError: the file is one of the inputs, under whatever name.
        OSError: the path is a folder, or there is no folder to write it to.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected the path of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    if path.exists():
        for other in inputs:
            if os.path.exists(other) and path.samefile(other):
                raise UserError(f"would overwrite the input {path}; choose another path")


def check_distinct(files: Iterable[Path]) -> None:
    """Make sure that no two paths lead to the same file, existing or not.

    Args:
        files: paths of inputs and outputs.

    Raises:
        UserError: two of them do; the message names both.
    """
    seen: dict[object, Path] = {}
    for path in files:
        places: list[object] = [path.resolve()]
        if path.exists():  # file systems may ignore case, which resolve() does not notice
            status = path.stat()
            places.append((status.st_dev, status.st_ino))
        for place in places:
            if place in seen:
                raise UserError(f"{seen[place]} and {path} are the same file")
            seen[place] = path


def _values_as_paths(path: str) -> list[str]:
    """Return the values of a yaml as paths from its folder; most of them are none."""
    with open(path, "rb") as stream:
        content = stream.read(_MAX_YAML_BYTES)
    try:
        top = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return []
    if not isinstance(top, yaml.MappingNode):
        return []
    folder = os.path.dirname(os.path.abspath(path))
    values = [node.value for _, node in top.value if isinstance(node, yaml.ScalarNode)]
    return [os.path.join(folder, os.path.expanduser(v)) for v in values if "\0" not in v]
