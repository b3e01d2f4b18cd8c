"""The small yaml which describes a custom data set."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tubedet.data.annotations.ava_csv import MAX_ACTION_ID, read_label_map
from tubedet.data.annotations.text import AnnotationError
from tubedet.data.annotations.video_lists import read_start_seconds

_MAX_BYTES = 1 << 18
_CLASSES = "write [walk, wave], or {1: walk, 2: wave}, or the path of a label map"
_REQUIRED = ("videos", "annotations", "classes", "fps")


@dataclass(frozen=True)
class CustomDataset:
    """What the yaml says; paths are relative to the yaml's folder no more.

    Attributes:
        path: the yaml itself.
        videos: folder with a video file or a folder of frames for each video.
        annotations: csv in the format of AVA.
        classes: action id, as in the csv, to name.
        fps: frames per second; used where the stored video does not tell.
        exclusive: every person does exactly one action.
        boxes: what the csv has, "fractions" of the frame or "pixels".
        timestamps: what the csv has, "seconds" or numbers of stored "frames", from 1.
        start_second: time of the first stored frame on the clock of the csv; the same for all
            videos, or by video id, see :meth:`start_of`.
        excluded: csv with key frames to leave out, or None.
    """

    path: str
    videos: str
    annotations: str
    classes: dict[int, str]
    fps: float
    exclusive: bool = False
    boxes: str = "fractions"
    timestamps: str = "seconds"
    start_second: float | dict[str, float] = 0.0
    excluded: str | None = None

    def find_start(self, video_id: str) -> float | None:
        """Find the second at which a video begins; None if the csv of starts has no such video.

        Args:
            video_id: of a row.
        """
        if isinstance(self.start_second, dict):
            return self.start_second.get(video_id)
        return self.start_second

    def start_of(self, video_id: str) -> float:
        """Return the second at which a video begins.

        Args:
            video_id: of a row.

        Raises:
            AnnotationError: if the csv of starts has no such video.
        """
        if (start := self.find_start(video_id)) is None:
            raise AnnotationError(
                f"{self.path}: key 'start_second': its csv has no row for the video {video_id!r}"
            )
        return start

    @property
    def action_names(self) -> list[str]:
        """A names; column k of every action array is the action with id k + 1."""
        return [self.classes.get(k, f"action {k}") for k in range(1, max(self.classes) + 1)]


def read_custom_yaml(path: str | os.PathLike) -> CustomDataset:
    """Read and check the yaml of a data set.

    Args:
        path: the file; see ``docs/own_data.md`` for its keys.

    Returns:
        CustomDataset: its content.

    Raises:
        AnnotationError: the file is no such yaml; the message names file, line and key.
        OSError: the file cannot be read.
    """
    path = os.fspath(path)
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, node in _top_level(path).value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key not in _READERS:
            raise AnnotationError(
                f"{path}:{line}: unknown key {key!r}; known: {', '.join(_READERS)}"
            )
        if key in values:
            raise AnnotationError(f"{path}:{line}: key {key!r} occurs twice")
        lines[key] = node.start_mark.line + 1
        try:
            values[key] = _READERS[key](node, os.path.dirname(os.path.abspath(path)))
        except AnnotationError:
            raise
        except (ValueError, OSError) as error:
            raise AnnotationError(f"{path}:{lines[key]}: key {key!r}: {error}") from None
    missing = [key for key in _REQUIRED if key not in values]
    if missing:
        raise AnnotationError(f"{path}:1: the keys {', '.join(missing)} are missing")
    data = CustomDataset(path=path, **values)
    if data.timestamps == "frames" and data.start_second:
        raise AnnotationError(
            f"{path}:{lines['start_second']}: key 'start_second': frame numbers have no clock; "
            "remove it, or use 'timestamps: seconds'"
        )
    return data


def _top_level(path: str) -> yaml.MappingNode:
    with open(path, "rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise AnnotationError(f"{path}:1: larger than {_MAX_BYTES} bytes: is this the yaml?")
    try:
        top = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise AnnotationError(f"{path}:{line}: no valid yaml: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AnnotationError(f"{path}:1: no valid yaml: {reason}") from None
    if not isinstance(top, yaml.MappingNode):
        raise AnnotationError(f"{path}:1: expected lines of 'key: value'")
    return top


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise ValueError("expected one value")
    return node.value


def _number(node: yaml.Node) -> float:
    try:
        numerator, _, denominator = _text(node).partition("/")
        number = float(numerator) / float(denominator or 1)
    except (ValueError, ArithmeticError):
        raise ValueError("expected a number such as 25 or 30000/1001") from None
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def _fps(node: yaml.Node, _folder: str) -> float:
    if (fps := _number(node)) <= 0:
        raise ValueError(f"expected a positive number, got {fps:g}")
    return fps


def _start_second(node: yaml.Node, folder: str) -> float | dict[str, float]:
    try:
        return _number(node)
    except ValueError as error:
        path = os.path.join(folder, os.path.expanduser(_text(node)))
        if "\0" in path or not os.path.isfile(path):
            raise ValueError(f"{error}, or a csv of video,second; there is no such file") from None
        return read_start_seconds(path)


def _flag(node: yaml.Node, _folder: str) -> bool:
    text = _text(node).lower()
    if text not in ("true", "false"):
        raise ValueError(f"expected true or false, got {text!r}")
    return text == "true"


def _one_of(*choices: str) -> Callable[[yaml.Node, str], str]:
    def read(node: yaml.Node, _folder: str) -> str:
        if (text := _text(node)) not in choices:
            raise ValueError(f"expected {' or '.join(choices)}, got {text!r}")
        return text

    return read


def _existing(kind: str, exists: Callable[[str], bool]) -> Callable[[yaml.Node, str], str]:
    def read(node: yaml.Node, folder: str) -> str:
        path = os.path.join(folder, os.path.expanduser(_text(node)))
        if "\0" in path or not exists(path):
            raise ValueError(f"there is no {kind} {path!r}")
        return path

    return read


def _classes(node: yaml.Node, folder: str) -> dict[int, str]:
    if isinstance(node, yaml.SequenceNode):
        classes = dict(enumerate(map(_class_name, node.value), start=1))
    elif isinstance(node, yaml.MappingNode):
        classes = {}
        for id_node, name_node in node.value:
            action_id = _class_id(id_node)
            if action_id in classes:
                raise ValueError(f"the id {action_id} occurs twice")
            classes[action_id] = _class_name(name_node)
    else:
        path = os.path.join(folder, os.path.expanduser(_text(node)))
        if "\0" in path or not os.path.isfile(path):
            raise ValueError(f"there is no label map {path!r}; {_CLASSES}")
        return read_label_map(path)
    names = list(classes.values())
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected different names; {_CLASSES}")
    return classes


def _class_id(node: yaml.Node) -> int:
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_ACTION_ID):
        raise ValueError(f"{text!r} is no id of a class, which count from 1, here and in the csv")
    return int(text)


def _class_name(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"expected one value for each class, its name; {_CLASSES}")
    if not node.value.strip() or node.tag == "tag:yaml.org,2002:null":
        raise ValueError(f"a class has no name; {_CLASSES}")
    return node.value.strip()  # as written: "yes" and "01" are names


_file = _existing("file", os.path.isfile)
_READERS: dict[str, Callable[[yaml.Node, str], object]] = {
    "videos": _existing("folder", os.path.isdir),
    "annotations": _file,
    "classes": _classes,
    "fps": _fps,
    "exclusive": _flag,
    "boxes": _one_of("fractions", "pixels"),
    "timestamps": _one_of("seconds", "frames"),
    "start_second": _start_second,
    "excluded": _file,
}
