"""What the reader of every format makes: boxes of persons with their actions, and where from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_LONGEST_FILE_NAME = 240  # without its ending
Moment = tuple[str, float]  # video id and time, see PersonBox
Box = tuple[float, float, float, float]  # x1, y1, x2, y2


class PersonBox(NamedTuple):
    """A person at one moment of a video, with all that it does there.

    Attributes:
        video_id: name of the video file without its ending, or of its folder of frames.
        time: number of the stored frame, from 1; or the second, if ``Labels.in_seconds``.
        box: x1, y1, x2, y2 in pixels; or fractions of the frame, if ``Labels.in_fractions``.
        actions: names; a person without one is somebody of whom nothing is known.
        person_id: the same at all moments of the video; None, which only seconds allow, if the
            format does not tell.
    """

    video_id: str
    time: float
    box: Box
    actions: tuple[str, ...]
    person_id: int | None

    @property
    def moment(self) -> Moment:
        """Video and time."""
        return self.video_id, self.time


@dataclass
class Labels:
    """The annotation of one file.

    Attributes:
        boxes: in any order.
        looked_at: moments which the annotator looked at. One without a box holds nobody.
        unclear: moments with something that is no box of a person: they are not said to be empty.
        class_names: names of the actions in the order of the file; empty if it states none.
        in_seconds: times are seconds, not numbers of stored frames.
        in_fractions: boxes are fractions of the frame, not pixels.
        sizes: (width, height) of videos in pixels, where the file tells.
        frame_rates: frames per second by which the file counts frames, by video id, where it
            tells; it may be another than the video has, see :func:`.to_stored_frames`.
        start_seconds: second at which the stored video begins, by video id, where it is not 0.
        remarks: what was read otherwise than it stands, such as "polygons: their enclosing boxes
            are taken", and how often.
    """

    boxes: list[PersonBox] = field(default_factory=list)
    looked_at: set[Moment] = field(default_factory=set)
    unclear: set[Moment] = field(default_factory=set)
    class_names: list[str] = field(default_factory=list)
    in_seconds: bool = False
    in_fractions: bool = False
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    frame_rates: dict[str, float] = field(default_factory=dict)
    start_seconds: dict[str, float] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)

    @property
    def empty(self) -> set[Moment]:
        """Moments at which nobody is there."""
        return self.looked_at - self.unclear - {box.moment for box in self.boxes}


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a file, beyond the file.

    Attributes:
        videos: folder of the videos.
        video: name of the file's video, or None.
        attributes: names of the attributes that are actions.
        person_attribute: name of the attribute that tells persons apart, or None.
        first_frame: number of the first frame, 0 or 1, or None.
        picture_fps: how many pictures were taken of a second of video, or None.
        label_map: file with the names of the actions, or None.
        actions: csv of actions by person and time, or None.
        subset: part of the file's videos, "train" or "test"; None: all.
        split: which of several divisions into such parts, from 1, or None.
        start_second: second at which the stored videos begin, or None.
    """

    videos: Path
    video: str | None = None
    attributes: tuple[str, ...] = ()
    person_attribute: str | None = None
    first_frame: int | None = None
    picture_fps: float | None = None
    label_map: Path | None = None
    actions: Path | None = None
    subset: str | None = None
    split: int | None = None
    start_second: float | None = None


# The options above which only some formats have, as they are called on the command line.
FORMAT_OPTIONS = (
    "video",
    "attribute",
    "person_attribute",
    "first_frame",
    "picture_fps",
    "label_map",
    "actions",
    "subset",
    "split",
    "start_second",
)


@dataclass(frozen=True)
class ImportFormat:
    """One format that can be imported.

    Attributes:
        name: as on the command line.
        summary: one line for the help.
        read: makes the labels of one file.
        sign: says by what a file is recognised, from its path and its first characters; returns ""
            for other files.
        options: those of :data:`FORMAT_OPTIONS` that it uses.
    """

    name: str
    summary: str
    read: Callable[[Path, ImportOptions], Labels]
    sign: Callable[[Path, str], str]
    options: frozenset[str] = frozenset()


def is_video_name(text: str) -> bool:
    """Tell whether a text can be the name of a video, in a csv and as a file.

    Args:
        text: any.
    """
    return (
        bool(text.strip())
        and set(text).isdisjoint("\0\r\n")
        and max(map(len, text.split("/"))) <= _LONGEST_FILE_NAME
    )


def is_box(box: Box) -> bool:
    """Tell whether four numbers are the corners of a box with an area.

    Args:
        box: x1, y1, x2, y2.
    """
    x1, y1, x2, y2 = box
    return all(map(math.isfinite, box)) and x1 < x2 and y1 < y2
