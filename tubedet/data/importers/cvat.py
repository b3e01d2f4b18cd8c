"""Read exports of CVAT ("CVAT for video 1.1"): every track is a person."""

from __future__ import annotations

import math
import xml.parsers.expat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tubedet.data.annotations.text import AnnotationError

from .dataset_writer import PersonBox


def read_cvat(
    paths: Sequence[Path], classes: Sequence[str], attributes: Sequence[str] = ()
) -> tuple[list[PersonBox], set[tuple[str, int]]]:
    """Read exports, each of one task; several of the same video are put together.

    Args:
        paths: the xml files.
        classes: A names of actions; the first one gets id 1.
        attributes: names of the attributes that are actions, a checkbox by its own name and any
            other by its value; empty: the label of a track is its action.

    Returns:
        a box for each person, frame and action; (video id, frame number) of the annotated frames
        that hold nobody.

    Raises:
        AnnotationError: if a file is no such export; the message names file and line.
        OSError: if a file cannot be read.
    """
    exports = [_Export(path, classes, attributes) for path in paths]
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
        sides = ("xtl", "ytl", "xbr", "ybr")
        left, top, right, bottom = (self._number(box, name) for name in sides)
        if not (left < right and top < bottom):
            raise self._error(f"not a box: {[left, top, right, bottom]}")
        self._seen_numbers.add(frame)
        actions = self._actions if self._attributes else [self._track.get("label", "")]
        for action in actions:
            if action not in self._action_ids:
                raise self._error(f"the action {action!r} is not among --classes")
            self.boxes.append(
                PersonBox(
                    "",
                    frame + 1,
                    (left, top, right, bottom),
                    self._action_ids[action],
                    person,
                )
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
        given = self._meta.get("frame_filter", "").removeprefix("step=") or "1"
        step = max(1, self._whole({"frame_filter": given}, "frame_filter"))
        return range(start, start + step * self._whole(self._meta, "size"), step)
