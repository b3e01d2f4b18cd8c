"""Tasks of Label Studio: which annotation counts, its tracks, and what they are called."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from tubedet.data.annotations.stated_frames import MOST_FRAMES

from .json_file import Entry
from .key_frame_tracks import KeyFrame
from .label_studio_results import (
    RECTANGLE,
    Result,
    choose_annotation,
    main_results,
    regions_of,
    regions_of_min,
)
from .label_studio_videos import video_name
from .labels import ImportOptions

_ANSWERS = ("labels", "choices", "text", "taxonomy")  # keys of what a control says


@dataclass(frozen=True)
class Track:
    """A region that moves.

    Attributes:
        kind: its type.
        key_frames: in the order of their frames, one or more.
        last_frame: of the video, or None.
        aspect: width of the frame by its height, or None.
        actions: names.
    """

    kind: str
    key_frames: list[KeyFrame]
    last_frame: int | None
    aspect: float | None
    actions: tuple[str, ...]

    @property
    def is_rectangle(self) -> bool:
        """Whether its key frames are boxes."""
        return self.kind == RECTANGLE


@dataclass
class Task:
    """What a task says of its video.

    Attributes:
        video_id: name of the video.
        tracks: of persons.
        controls: names of the controls that its regions have.
        num_frames: of the video; 0, if it is not known.
        rate: frames per second by which frames are counted, or None.
    """

    video_id: str
    tracks: list[Track] = field(default_factory=list)
    controls: set[str] = field(default_factory=set)
    num_frames: int = 0
    rate: float | None = None


def read_task(entry: Entry, options: ImportOptions, remarks: Counter[str]) -> Task | None:
    """Read a task, or an item of JSON-MIN.

    Args:
        entry: it.
        options: see :func:`.read_label_studio`.
        remarks: takes what the user should know.

    Returns:
        What it says; None, if no annotation of it has a track.

    Raises:
        AnnotationError: if it breaks the format.
    """
    if "predictions" in entry and (predictions := entry.items("predictions")):
        remarks["predictions: left out"] += len(predictions)
    if "annotations" in entry or "completions" in entry:
        annotation = choose_annotation(entry.items("annotations", "completions"), remarks)
        if annotation is None:
            return None
        data, regions = entry.child("data"), regions_of(annotation)
    else:
        data, regions = entry, regions_of_min(entry)
    moving = [pair for pair in main_results(regions, remarks) if pair[0].value.items("sequence")]
    if not moving:
        remarks["tasks without a track: left out"] += 1
        return None
    task = Task(options.video or video_name(data, options.videos, remarks))
    for main, region in moving:
        task.tracks.append(_track(main, region, options, remarks))
        task.controls |= {result.control for result in region}
        task.rate = task.rate or _rate(main.value)
    task.num_frames = max(track.last_frame or 0 for track in task.tracks)
    return task


def _track(
    main: Result, region: list[Result], options: ImportOptions, remarks: Counter[str]
) -> Track:
    key_frames: dict[int, KeyFrame] = {}
    for entry in main.value.items("sequence"):
        key_frame = _key_frame(entry, is_rectangle=main.kind == RECTANGLE)
        if key_frames.setdefault(key_frame.frame, key_frame) != key_frame:
            raise entry.error(f"has the frame {key_frame.frame}, as another key frame has")
    last_frame = None
    if "framesCount" in main.value:
        last_frame = math.ceil(main.value.number("framesCount"))
        if not 0 <= last_frame <= MOST_FRAMES:
            raise main.value.error(
                f"has the framesCount {last_frame}, expected up to {MOST_FRAMES}"
            )
    aspect = None
    if "original_width" in main.entry and "original_height" in main.entry:
        width, height = main.entry.number("original_width"), main.entry.number("original_height")
        aspect = width / height if min(width, height) >= 1 else None
    actions: list[str] = []
    for result in region:
        if result.control in options.attributes if options.attributes else "labels" in result.value:
            actions += _answers(result)
        elif result is not main and not options.attributes:
            remarks[
                f"{result.kind} of regions: no actions without --attribute {result.control}"
            ] += 1
    return Track(
        main.kind,
        [key_frames[number] for number in sorted(key_frames)],
        last_frame,
        aspect,
        tuple(dict.fromkeys(actions)),
    )


def _key_frame(entry: Entry, *, is_rectangle: bool) -> KeyFrame:
    frame = entry.whole("frame")
    if not 1 <= frame <= MOST_FRAMES:
        raise entry.error(f"has the frame {frame}, expected 1 to {MOST_FRAMES}")
    enabled = entry.value.get("enabled", True)
    if not isinstance(enabled, bool):
        raise entry.error(f"has 'enabled' {enabled!r}, expected true or false")
    if not is_rectangle:
        return KeyFrame(frame, (0, 0, 0, 0), 0, enabled)
    x, y, width, height = (entry.number(name) for name in ("x", "y", "width", "height"))
    rotation = entry.number("rotation") if "rotation" in entry else 0
    return KeyFrame(frame, (x, y, width, height), rotation, enabled)


def _answers(result: Result) -> list[str]:
    names = [n for n in dict.fromkeys((result.kind, *_ANSWERS)) if n in result.value]
    found = []
    for answer in result.value.items(names[0]) if names else ():
        path = answer.value if isinstance(answer.value, list) else [answer.value]
        if not path or not all(isinstance(part, str) and part.strip() for part in path):
            raise answer.error(f"is {str(answer.value)[:80]}, expected a name")
        found.append(" / ".join(path))  # of a taxonomy
    return found


def _rate(value: Entry) -> float | None:
    """Frames per second by which the tool counts, if it can be told."""
    by_times = by_length = None
    timed = [e for e in value.items("sequence") if "time" in e and e.number("time") > 0]
    if timed:
        last = max(timed, key=lambda entry: entry.number("time"))
        by_times = last.whole("frame") / last.number("time")
    if "framesCount" in value and "duration" in value and value.number("duration") > 0:
        count = value.number("framesCount")
        by_length = count / value.number("duration")
        # The count is rounded up, so that the times of key frames are more exact; but other
        # programs measure these from another frame on.
        if by_times and abs(count - by_times * value.number("duration")) >= 1:
            by_times = None
    rate = by_times or by_length
    return rate if rate and 1e-3 < rate < 1e6 else None
