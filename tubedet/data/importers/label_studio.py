"""Read tasks of Label Studio: rectangles in videos, which are stored as key frames."""

from __future__ import annotations

from pathlib import Path

from tubedet.data.annotations.stated_frames import check_stated_frames
from tubedet.data.annotations.text import AnnotationError

from .json_file import read_json
from .key_frame_tracks import place_at, upright_box, visible_frames, visible_ranges
from .label_studio_tasks import Track, read_task
from .labels import ImportFormat, ImportOptions, Labels, PersonBox, is_box
from .merging import merge


def read_label_studio(path: Path, options: ImportOptions) -> Labels:
    """Read an export as JSON or JSON-MIN, or a single task.

    A track is a person, and its labels are the actions; with ``options.attributes`` the actions
    stand in other controls of the region, such as choices. Of a task with several annotations the
    ground truth is taken, else the first one that was not cancelled.

    Args:
        path: the json.
        options: ``attributes``; ``video``, for a single task.

    Returns:
        Boxes as fractions by numbers of frames, of every frame in which the editor shows them.

    Raises:
        AnnotationError: if the file breaks its format; the message names the place.
        OSError: if it cannot be read.
    """
    content = read_json(path)
    entries = content.items() if isinstance(content.value, list) else [content]
    parts = []
    with_tracks = num_frames = 0
    controls: set[str] = set()
    for entry in entries:
        labels = Labels(in_fractions=True)
        task = read_task(entry, options, labels.remarks)
        parts.append(labels)
        if task is None:
            continue
        with_tracks += 1
        if options.video is not None and with_tracks > 1:
            raise AnnotationError(
                f"{path}: --video {options.video} cannot be right, several tasks have tracks"
            )
        controls |= task.controls
        num_frames += task.num_frames
        for track in task.tracks:
            num_frames += sum(map(len, visible_ranges(track.key_frames, track.last_frame)))
        check_stated_frames(num_frames, path)
        for person, track in enumerate(task.tracks):
            _add_track(labels, task.video_id, person, track)
        if task.num_frames and task.tracks:
            frames = range(1, task.num_frames + 1)
            labels.looked_at.update((task.video_id, frame) for frame in frames)
            if empty := len(labels.empty):
                labels.remarks["frames without a box: taken as moments with nobody"] = empty
        if task.rate:
            labels.frame_rates[task.video_id] = task.rate
    for name in options.attributes:
        if name not in controls:
            raise AnnotationError(
                f"{path}: --attribute {name}: regions have no such control, but "
                f"{', '.join(sorted(controls)) or 'none'}"
            )
    return merge(parts) if parts else Labels(in_fractions=True)


def _sign(path: Path, head: str) -> str:
    is_json = head.lstrip().startswith(("[", "{"))
    if is_json and '"videorectangle"' in head:
        return "the type 'videorectangle'"
    if is_json and '"sequence"' in head and '"enabled"' in head:
        return "the keys 'sequence' and 'enabled'"
    return ""


LABEL_STUDIO = ImportFormat(
    name="label-studio",
    summary="tasks of Label Studio (JSON or JSON-MIN) with rectangles in videos: a track is a "
    "person, its labels are the actions; with --attribute the actions stand in other controls of "
    "the region, such as choices",
    read=read_label_studio,
    sign=_sign,
    options=frozenset({"video", "attribute"}),
)


def _add_track(labels: Labels, video_id: str, person: int, track: Track) -> None:
    """Add the boxes of a person, or say where there is something that is no box."""
    remarks = labels.remarks
    key_frames = track.key_frames
    if key_frames[-1].enabled:
        if track.last_frame is None:
            remarks["tracks without an end, in videos of unknown length: end at a key frame"] += 1
        elif key_frames[-1].frame < track.last_frame:
            remarks["tracks without an end: kept to the end of the video, as the editor does"] += 1
    for frame in visible_frames(key_frames, track.last_frame):
        box = None
        if track.is_rectangle:
            place, rotation = place_at(key_frames, frame)
            box = upright_box(place, rotation, track.aspect)
            if box is None:
                remarks["turned boxes, of videos of unknown size: left out, with their frames"] += 1
            elif not is_box(box):
                remarks["boxes without an area: left out, with their frames"] += 1
            elif rotation % 180:
                remarks["turned boxes: their enclosing upright boxes are taken"] += 1
        else:
            remarks[
                f"frames with a region of the type {track.kind}, which is no box: left out"
            ] += 1
        if box is None or not is_box(box):
            labels.unclear.add((video_id, frame))
        else:
            labels.boxes.append(PersonBox(video_id, frame, box, track.actions, person))
