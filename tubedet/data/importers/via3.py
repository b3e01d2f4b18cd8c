"""Read annotations of VIA 3: regions of pictures or of frames of videos."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.video.frame_names import FRAME_EXTENSIONS
from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .labels import ImportFormat, ImportOptions, Labels, Moment, PersonBox, is_box
from .picture_names import PictureClock, plain_path
from .via3_actions import ActionAttributes
from .via3_csv import read_csv_project
from .via3_project import Region, read_json_project
from .via3_shapes import enclosing_box

_SAME_FRAME = 0.01  # seconds; VIA shows regions of less than 0.02 s together
_LARGEST = 10**7  # pixels


def read_via3(path: Path, options: ImportOptions) -> Labels:
    """Read a project of VIA 3, or its csv export.

    A region is a person, and the options of its attributes are actions. The name of a picture tells
    its video and number, as ``gym_000031.jpg``; regions of videos tell their time. Shapes that are
    no rectangles count with their enclosing box.

    Args:
        path: the json or csv.
        options: ``attributes`` (default: all that have options), ``person_attribute``; ``video``;
            for pictures ``picture_fps`` and ``first_frame``.

    Returns:
        Boxes in pixels by seconds. A picture of the project without a region holds nobody.

    Raises:
        AnnotationError: if the file breaks its format; the message names the place.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as stream:
        is_json = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))
    project = read_json_project(path) if is_json else read_csv_project(path)
    labels = Labels(in_seconds=True)
    remarks = labels.remarks
    regions = [region for region in project.regions if _is_of_moment(region, remarks)]
    if not regions:
        others = "".join(f"; {text} ({count})" for text, count in remarks.items())
        raise AnnotationError(f"{path}: no region of a picture or of a frame of a video{others}")
    attributes = ActionAttributes(path, project, options, remarks)
    used = ", ".join(attributes.names)
    remarks[f"regions, whose actions are the attributes {used}"] = len(regions)
    labels.class_names = attributes.class_names
    clock = PictureClock(options, remarks)
    moments = _moments(regions, options, clock, remarks)
    persons: list[str | None] = []
    for region, moment in zip(regions, moments):
        labels.looked_at.add(moment)
        kind, box = enclosing_box(region.shape)
        if not is_box(box) or max(map(abs, box)) > _LARGEST:
            labels.unclear.add(moment)
            remarks[f"shapes of the kind {kind} without an area: left out, with their frames"] += 1
            continue
        if kind != "rectangle":
            remarks[f"shapes of the kind {kind}: their enclosing boxes are taken"] += 1
        labels.boxes.append(PersonBox(*moment, box, attributes.actions(region.values), None))
        persons.append(attributes.person(region.values))
    numbers = _numbers(persons)
    labels.boxes = [
        box._replace(person_id=None if person is None else numbers[person])
        for box, person in zip(labels.boxes, persons)
    ]
    pictures = {clock.moment(name, entry) for name, entry in project.pictures}
    if empty := pictures - labels.looked_at:
        remarks["pictures without a region: taken as moments with nobody"] = len(empty)
        labels.looked_at |= empty
    return labels


def _sign(path: Path, head: str) -> str:
    if head.lstrip().startswith("{") and '"vid_list"' in head and '"project"' in head:
        return "the key 'vid_list' of its project"
    is_csv = head.startswith("#") and "CSV_HEADER = metadata_id,file_list" in head
    return "the comment CSV_HEADER" if is_csv else ""


VIA3 = ImportFormat(
    name="via3",
    summary="a project of VIA 3 (json) or its csv export, of pictures named as gym_000031.jpg "
    "(with --picture-fps) or of videos: a region is a person, the options of its attributes are "
    "actions; with --person-attribute a person is told from another",
    read=read_via3,
    sign=_sign,
    options=frozenset({"video", "attribute", "first_frame", "person_attribute", "picture_fps"}),
)


def _is_of_moment(region: Region, remarks: Counter[str]) -> bool:
    """Tell whether a region is a shape in one picture or frame; if not, count it."""
    if region.shape.value and len(region.times) < 2:
        return True
    if region.times:
        remarks["stretches of time, which have no box at a moment: left out"] += 1
    else:
        remarks["values of whole files, which are no person's: left out"] += 1
    return False


def _moments(
    regions: Sequence[Region], options: ImportOptions, clock: PictureClock, remarks: Counter[str]
) -> list[Moment]:
    """Return video and second of each region."""
    moments = []
    times: dict[str, set[float]] = defaultdict(set)  # of videos
    names: set[str] = set()
    for region in regions:
        path = plain_path(region.file)
        ending = path.suffix.lower()
        if not region.times:
            if ending in VIDEO_EXTENSIONS:
                raise region.entry.error(f"has no time, but is a region of {region.file!r}")
            moments.append(clock.moment(region.file, region.entry))
            continue
        if ending in FRAME_EXTENSIONS:
            raise region.entry.error(f"has a time, but is a region of {region.file!r}")
        names.add(path.stem)
        if options.video is not None and len(names) > 1:
            raise region.entry.error(
                f"is of {region.file!r}: --video {options.video} cannot be right, the regions are "
                f"of several videos: {', '.join(sorted(names))}"
            )
        if not (video := options.video or path.stem):
            raise region.entry.error("does not tell its video: --video NAME")
        times[video].add(region.times[0])
        moments.append((video, region.times[0]))
    frames: dict[Moment, float] = {}
    for video, seconds in times.items():
        shown = -math.inf
        for second in sorted(seconds):
            if second - shown >= _SAME_FRAME:
                shown = second
            else:
                remarks[f"times less than {_SAME_FRAME} s apart: taken as one moment"] += 1
            frames[video, second] = shown
    return [
        (video, frames[video, second]) if region.times else (video, second)
        for region, (video, second) in zip(regions, moments)
    ]


def _numbers(persons: Sequence[str | None]) -> dict[str, int]:
    """Numbers of the persons: their names, if these are numbers."""
    names = sorted({person for person in persons if person is not None})
    if all(re.fullmatch("0|[1-9][0-9]{,8}", name) for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}
