"""Read exports of CVAT ("CVAT for video 1.1"): every track is a person."""

from __future__ import annotations

import xml.parsers.expat
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tubedet.data.annotations.stated_frames import MOST_FRAMES
from tubedet.data.annotations.text import AnnotationError

from .cvat_shapes import SHAPES, enclosing_box, is_turned
from .labels import (
    Box,
    ImportFormat,
    ImportOptions,
    Labels,
    PersonBox,
    is_box,
)

# Those that every xml parser knows; others raise errors that say nothing of the file.
_ENCODINGS = ("utf-8", "utf-16", "utf-16be", "utf-16le", "iso-8859-1", "us-ascii")


def read_cvat(path: Path, options: ImportOptions) -> Labels:
    """Read an export of one task or one job.

    The label of a track is its action. With ``options.attributes`` the actions stand in attributes
    instead: a checkbox is an action by its own name, any other attribute by its value. Shapes that
    are no boxes count with their enclosing box, a skeleton with that of its points.

    Args:
        path: the xml file.
        options: ``attributes``, and ``video`` for an export that does not name it.

    Returns:
        Boxes in pixels by numbers of frames.

    Raises:
        AnnotationError: if the file is no such export; the message names file and line.
        OSError: if the file cannot be read.
    """
    return _Export(path, options).labels


def _sign(path: Path, head: str) -> str:
    return "the element <annotations>" if "<annotations>" in head[:1000] else ""


CVAT = ImportFormat(
    name="cvat",
    summary="an export of CVAT as 'CVAT for video 1.1', of one task or one job: a track is a "
    "person, its label the action; with --attribute the actions stand in attributes",
    read=read_cvat,
    sign=_sign,
    options=frozenset({"video", "attribute"}),
)


class _Export:
    """One xml file, read in a single pass; documents with entities are refused."""

    def __init__(self, path: Path, options: ImportOptions):
        self.labels = Labels()
        self._path = path
        self._attributes = options.attributes
        self._open: list[str] = []
        self._meta: dict[str, str] = {}
        self._text: list[str] = []
        self._track: dict[str, str] = {}
        self._person = -1
        self._seen_at: int | None = None  # frame of the shape before, if the track goes on there
        self._shape: dict[str, str] | None = None
        self._points: list[Box] = []  # of the skeleton that is open
        self._actions: list[str] = []
        self._boxes: list[PersonBox] = []
        self._label_names: list[str] = []
        self._unclear_frames: set[int] = set()
        self._gaps: list[tuple[int, int]] = []  # frames on both sides
        self._task_ids: set[str] = set()

        parser = self._parser = xml.parsers.expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.XmlDeclHandler = self._check_encoding
        try:
            with open(path, "rb") as stream:
                parser.ParseFile(stream)
        except xml.parsers.expat.ExpatError as error:
            raise self._error(f"no valid xml: {error}") from None
        self._name_video(options.video or self._source_stem())

    def _name_video(self, video_id: str) -> None:
        labels = self.labels
        frames = self._task_frames()
        boxes = [box._replace(video_id=video_id) for box in self._boxes]
        labels.looked_at = {(video_id, frame + 1) for frame in frames}
        labels.unclear = {(video_id, frame + 1) for frame in self._unclear_frames}
        if self._gaps:
            numbers = {*frames, *(int(box.time) - 1 for box in boxes)}
            incomplete = {(video_id, frame + 1) for frame in self._frames_in_gaps(numbers)}
            labels.unclear |= incomplete
            boxes = [box for box in boxes if box.moment not in incomplete]
        labels.boxes = boxes
        if not self._attributes:
            labels.class_names = list(dict.fromkeys(self._label_names))
        if "width" in self._meta and "height" in self._meta:
            size = self._whole(self._meta, "width"), self._whole(self._meta, "height")
            labels.sizes[video_id] = size

    def _error(self, problem: str) -> AnnotationError:
        return AnnotationError(f"{self._path}:{self._parser.CurrentLineNumber}: {problem}")

    def _several_tasks(self) -> AnnotationError:
        return self._error(
            "a second task: this is the export of a project or of several videos, whose frames "
            "cannot be told apart; export every task for itself and name all the files"
        )

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise self._error("document type and entity declarations are not accepted")

    def _check_encoding(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise self._error(f"encoding {encoding!r}: save the file as utf-8")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open and tag != "annotations":
            raise self._error(f"<{tag}> instead of <annotations>: no export of CVAT")
        if tag == "image":
            raise self._error("<image>: 'CVAT for images'; export it as 'CVAT for video 1.1'")
        self._open.append(tag)
        self._text.clear()
        if tag == "track":
            self._track = attributes
            # Tracks without an id, as converters write them, are numbered in their order.
            self._person = self._whole(attributes, "id") if "id" in attributes else self._person + 1
            self._seen_at = None
            self._task_ids.add(attributes.get("task_id", ""))
            if len(self._task_ids) > 1:
                raise self._several_tasks()
        elif "track" in self._open[:-1] and (tag in SHAPES or tag == "skeleton"):
            self._start_shape(tag, attributes)
        elif tag == "attribute" and self._shape is not None:
            self._attribute_name = attributes.get("name", "")

    def _start_shape(self, tag: str, attributes: dict[str, str]) -> None:
        if self._open[-2] != "skeleton":
            self._shape, self._actions, self._points = attributes, [], []
        elif attributes.get("outside") != "1":
            self._points.append(self._box_around(tag, attributes))

    def _end(self, tag: str) -> None:
        text = "".join(self._text).strip()
        self._open.pop()
        if self._open[1:2] == ["meta"]:
            if (tag == "task" and tag in self._meta) or (
                tag == "source" and self._meta.get(tag, text) != text
            ):
                raise self._several_tasks()
            if tag == "name" and self._open[-1] == "label":
                self._label_names.append(text)
            elif tag == "parent" and self._open[-1] == "label" and text:
                del self._label_names[-1:]  # a point of a skeleton
            self._meta.setdefault(tag, text)
        elif tag == "attribute" and self._shape is not None:
            self._add_attribute(self._attribute_name, text)
        elif self._open[-1:] == ["track"] and self._shape is not None:
            self._add_shape(tag, self._shape)
            self._shape = None

    def _add_attribute(self, name: str, value: str) -> None:
        if name in self._attributes and value.lower() != "false":
            self._actions.append(name if value.lower() == "true" else value)

    def _add_shape(self, tag: str, shape: dict[str, str]) -> None:
        frame = self._whole(shape, "frame")
        self._leave_gap_out(frame)
        if shape.get("outside") == "1":
            self._seen_at = None
            return
        self._seen_at = frame
        remarks = self.labels.remarks
        if tag == "skeleton":
            if not self._points:  # all of them are outside of the frame
                return
            left, top, right, bottom = zip(*self._points)
            box = min(left), min(top), max(right), max(bottom)
        else:
            box = self._box_around(tag, shape)
        if not is_box(box):
            if tag == "box":
                raise self._error(f"not a box: {list(box)}")
            self._unclear_frames.add(frame)
            remarks[f"shapes of the kind {tag} without an area: left out, with their frames"] += 1
            return
        if tag != "box":
            remarks[f"shapes of the kind {tag}: their enclosing boxes are taken"] += 1
        elif is_turned(shape):
            remarks["turned boxes: their enclosing upright boxes are taken"] += 1
        actions = self._actions if self._attributes else [self._track.get("label", "")]
        self._boxes.append(PersonBox("", frame + 1, box, tuple(actions), self._person))

    def _leave_gap_out(self, frame: int) -> None:
        """Leave frames out in which a track goes on without a shape: they are not empty."""
        if self._seen_at is None or frame - self._seen_at <= self._frame_step():
            return
        self._gaps.append((self._seen_at, frame))
        self.labels.remarks[
            "gaps of tracks (the file has key frames only; CVAT itself writes every box): left "
            "out, with their frames"
        ] += 1

    def _frames_in_gaps(self, frames: Iterable[int]) -> set[int]:
        ends: list[int] = []
        furthest = 0
        gaps = sorted(self._gaps)
        for _, end in gaps:
            furthest = max(furthest, end)
            ends.append(furthest)
        found = set()
        for frame in frames:
            # Of the gaps that begin before the frame, does one end behind it?
            before = bisect_left(gaps, (frame, 0))
            if before and frame < ends[before - 1]:
                found.add(frame)
        return found

    def _box_around(self, tag: str, shape: dict[str, str]) -> Box:
        try:
            return enclosing_box(tag, shape)
        except ValueError as error:
            raise self._error(str(error)) from None

    def _whole(self, attributes: dict[str, str], name: str) -> int:
        text = attributes.get(name, "")
        if not text.isascii() or not text.isdigit() or len(text) > 7:
            raise self._error(f"{name}={text!r}: expected a whole number")
        return int(text)

    def _source_stem(self) -> str:
        if not (source := self._meta.get("source")):
            raise AnnotationError(
                f"{self._path}: no <source>, as in the export of a job: say which video this is, "
                "--video NAME"
            )
        return PurePosixPath(source).stem

    def _task_frames(self) -> range:
        """Frames which were annotated; CVAT counts those of the video, from 0."""
        if not self._meta.get("size"):
            return range(0)
        start = self._whole(self._meta, "start_frame") if self._meta.get("start_frame") else 0
        step = self._frame_step()
        size = self._whole(self._meta, "size")
        if size > MOST_FRAMES:
            raise self._error(
                f"a video of {size:,} frames, and at most {MOST_FRAMES:,} are expected"
            )
        return range(start, start + step * size, step)

    def _frame_step(self) -> int:
        given = self._meta.get("frame_filter", "").removeprefix("step=") or "1"
        return max(1, self._whole({"frame_filter": given}, "frame_filter"))
