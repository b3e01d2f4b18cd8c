#!/usr/bin/env python
"""Turn exports of CVAT ("CVAT for video 1.1") into a csv and a yaml that configs can name.

Every track is a person, and its label is the action. With --attribute the actions stand in
attributes instead: a checkbox is an action by its own name, any other attribute by its value.
"""

from __future__ import annotations

import argparse
import math
import sys
import xml.parsers.expat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import tubedet  # noqa: F401  (before the packages whose import-time notices it silences)

# isort: split
from tubedet.data import AnnotationError
from tubedet.data.importers.dataset_writer import PersonBox, write_own_data


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "xml",
        type=Path,
        nargs="+",
        help="exports, each of one task; several of a video are put together",
    )
    parser.add_argument("--videos", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--output", type=Path, required=True, help="yaml to write; csv beside it")
    parser.add_argument("--fps", type=float, required=True, help="frames per second of the videos")
    parser.add_argument(
        "--classes", nargs="+", required=True, metavar="NAME", help="actions; the first has id 1"
    )
    parser.add_argument(
        "--attribute", action="append", default=[], metavar="NAME", help="see above; repeatable"
    )
    parser.add_argument("--exclusive", action="store_true", help="each person does one action")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    options = parser.parse_args(arguments)
    if len(set(options.classes)) < len(options.classes):
        parser.error("--classes: a name occurs twice")
    if len({path.resolve() for path in options.xml}) < len(options.xml):
        parser.error("xml: a file occurs twice")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Imports, and says what was found.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        int: exit status, 1 on input that cannot be read.
    """
    options = parse_arguments(arguments)
    try:
        exports = [_Export(path, options.classes, options.attribute) for path in options.xml]
        boxes, empty_frames = _merged(exports)
        write_own_data(
            options.output,
            boxes,
            inputs=options.xml,
            empty_frames=empty_frames,
            classes=options.classes,
            videos=options.videos,
            fps=options.fps,
            exclusive=options.exclusive,
            overwrite=options.overwrite,
        )
    except (AnnotationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {len(boxes)} boxes in {len({e.video_id for e in exports})} videos")
    return 0


def _merged(exports: Sequence[_Export]) -> tuple[list[PersonBox], set[tuple[str, int]]]:
    """Boxes and empty frames of all exports; a video may be spread over several of them."""
    boxes: list[PersonBox] = []
    empty: set[tuple[str, int]] = set()
    seen: set[tuple[str, int]] = set()
    next_person: dict[str, int] = {}
    for export in exports:
        # Every export counts its tracks from 0.
        offset = next_person.get(export.video_id, 0)
        boxes += [box._replace(person_id=box.person_id + offset) for box in export.boxes]
        persons = [box.person_id for box in export.boxes]
        next_person[export.video_id] = offset + max(persons, default=-1) + 1
        empty |= export.empty_frames
        seen |= export.seen_frames
    return boxes, empty - seen


class _Export:
    """One xml file, read in a single pass; documents with entities are refused.

    Attributes:
        video_id: name of the video without its ending.
        boxes: a :class:`PersonBox` for each action.
        seen_frames: (video id, frame number) of the frames with a person.
        empty_frames: those of the other frames of the task.

    Raises:
        AnnotationError: the file is no such export; the message names file and line.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, classes: Sequence[str], attributes: Sequence[str]):
        self.boxes: list[PersonBox] = []
        self._path = path
        self._action_ids = {name: number for number, name in enumerate(classes, start=1)}
        self._attributes = attributes
        self._open: list[str] = []
        self._meta: dict[str, str] = {}
        self._text: list[str] = []
        self._track: dict[str, str] = {}
        self._box: dict[str, str] | None = None
        self._actions: list[str] = []
        self._seen_numbers: set[int] = set()
        self._task_ids: set[str] = set()

        parser = self._parser = xml.parsers.expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            with open(path, "rb") as stream:
                parser.ParseFile(stream)
        except xml.parsers.expat.ExpatError as error:
            raise self._error(f"no valid xml: {error}") from None
        self.video_id = self._source_stem()
        self.boxes = [box._replace(video_id=self.video_id) for box in self.boxes]
        self.seen_frames = {(self.video_id, frame + 1) for frame in self._seen_numbers}
        task_frames = {(self.video_id, frame + 1) for frame in self._task_frames()}
        self.empty_frames = task_frames - self.seen_frames

    def _error(self, problem: str) -> AnnotationError:
        return AnnotationError(f"{self._path}:{self._parser.CurrentLineNumber}: {problem}")

    def _several_tasks(self) -> AnnotationError:
        return self._error(
            "a second task: this is the export of a project or of several videos, whose frames "
            "cannot be told apart; export every task for itself and name all the files"
        )

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise self._error("document type and entity declarations are not accepted")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open and tag != "annotations":
            raise self._error(f"<{tag}> instead of <annotations>: no export of CVAT")
        if tag == "image":
            raise self._error("<image>: 'CVAT for images'; export it as 'CVAT for video 1.1'")
        self._open.append(tag)
        self._text.clear()
        if tag == "track":
            self._track = attributes
            self._task_ids.add(attributes.get("task_id", ""))
            if len(self._task_ids) > 1:
                raise self._several_tasks()
        elif tag == "box" and "track" in self._open:
            self._box, self._actions = attributes, []
        elif tag == "attribute" and self._box is not None:
            self._attribute_name = attributes.get("name", "")

    def _end(self, tag: str) -> None:
        text = "".join(self._text).strip()
        self._open.pop()
        if self._open[1:2] == ["meta"]:
            if (tag == "task" and tag in self._meta) or (
                tag == "source" and self._meta.get(tag, text) != text
            ):
                raise self._several_tasks()
            self._meta.setdefault(tag, text)
        elif tag == "attribute" and self._box is not None:
            self._add_attribute(self._attribute_name, text)
        elif tag == "box" and self._box is not None:
            self._add_box(self._box)
            self._box = None

    def _add_attribute(self, name: str, value: str) -> None:
        if name in self._attributes and value.lower() != "false":
            self._actions.append(name if value.lower() == "true" else value)

    def _add_box(self, box: dict[str, str]) -> None:
        if box.get("outside") == "1":
            return
        frame, person = self._whole(box, "frame"), self._whole(self._track, "id")
        corners = [self._number(box, name) for name in ("xtl", "ytl", "xbr", "ybr")]
        if not (corners[0] < corners[2] and corners[1] < corners[3]):
            raise self._error(f"not a box: {corners}")
        self._seen_numbers.add(frame)
        actions = self._actions if self._attributes else [self._track.get("label", "")]
        for action in actions:
            if action not in self._action_ids:
                raise self._error(f"the action {action!r} is not among --classes")
            self.boxes.append(
                PersonBox("", frame + 1, tuple(corners), self._action_ids[action], person)
            )

    def _whole(self, attributes: dict[str, str], name: str) -> int:
        text = attributes.get(name, "")
        if not text.isascii() or not text.isdigit() or len(text) > 7:
            raise self._error(f"{name}={text!r}: expected a whole number")
        return int(text)

    def _number(self, attributes: dict[str, str], name: str) -> float:
        try:
            number = float(attributes.get(name, ""))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self._error(f"{name}={attributes.get(name)!r}: expected a number")
        return number

    def _source_stem(self) -> str:
        source = self._meta.get("source") or self._path.name
        return PurePosixPath(source).stem

    def _task_frames(self) -> range:
        """Frames which were annotated; CVAT counts those of the video, from 0."""
        if not self._meta.get("size"):
            return range(0)
        start = self._whole(self._meta, "start_frame") if self._meta.get("start_frame") else 0
        step = self._meta.get("frame_filter", "").removeprefix("step=") or "1"
        step = max(1, self._whole({"frame_filter": step}, "frame_filter"))
        return range(start, start + step * self._whole(self._meta, "size"), step)


if __name__ == "__main__":
    sys.exit(main())
