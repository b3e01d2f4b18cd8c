"""Checks of annotation files that find every problem, where loading stops at the first one."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from tubedet.data.annotations.ava_csv import AVATable, read_ava_csv, read_label_map, read_timestamps
from tubedet.data.annotations.row_faults import beyond_whole_seconds, box_faults, repeated_rows
from tubedet.data.annotations.tube_files import ActionTube
from tubedet.data.annotations.video_lists import (
    VideoInfo,
    read_file_names,
    read_seconds,
    read_video_infos,
)
from tubedet.data.datasets.ava import AVAFiles
from tubedet.data.datasets.custom_rows import (
    first_line_of_videos,
    key_frame_lines,
    person_faults,
    read_excluded,
    read_table,
    time_fault,
    value_faults,
    video_id_faults,
)
from tubedet.data.datasets.custom_yaml import CustomDataset
from tubedet.data.video.media_paths import missing_media, video_paths
from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .checked_dataset import CheckedDataset, PixelBoxes, Problem

_DIVIDE = "divide x by the width of the frame and y by its height"


def check_ava(name: str, files: AVAFiles) -> CheckedDataset:
    """Check the annotation of a data set in the format of AVA.

    Args:
        name: what reports call it.
        files: where everything is.

    Returns:
        CheckedDataset: the problems, and the key frames to look up in the media.
    """
    checked = CheckedDataset(name, files.groundtruth_csv)
    actions = checked.read("label-map", files.action_list, read_label_map, {})
    if files.label_map != files.action_list:
        checked.read("label-map", files.label_map, read_label_map, {})
    table = _read_table(checked, files.groundtruth_csv)
    excluded = _read_excluded(checked, files.exclusions_csv)
    seconds, file_names, infos = [], {}, {}
    path = files.included_timestamps
    if path and os.path.isfile(path):
        add = checked.unreadable(path, "row")
        seconds = checked.read("row", path, read_seconds, [], on_error=add)
    if files.file_names and os.path.isfile(files.file_names):
        file_names = checked.read("row", files.file_names, read_file_names, {})
    path = files.video_info_csv
    if path and os.path.isfile(path):
        add = checked.unreadable(path, "video-info")
        infos = checked.read("video-info", path, read_video_infos, {}, on_error=add)

    checked.needs_2020 = beyond_whole_seconds(table)
    checked.add_faults(box_faults(table, pixels=False, advice=_DIVIDE))
    _check_actions(checked, table, actions)
    _check_duplicates(checked, table)
    lines = key_frame_lines(table)
    _check_videos(checked, table, file_names)
    _check_seconds(checked, lines, seconds, infos)
    _check_excluded(checked, table, excluded)
    paths = video_paths(
        checked.first_lines, frames_dir=files.frames_dir, videos_dir=files.videos_dir
    )
    for video_id, second in sorted(lines.keys() - excluded):
        info = infos.get(video_id) or VideoInfo(0, 0, files.fps, files.start_second)
        record = _record(video_id, second, paths[video_id], info.fps, info.start_second)
        if video_id in infos:
            record.update(height=info.height, width=info.width)
        checked.records.append(record)
    return checked


def check_custom_dataset(custom: CustomDataset) -> CheckedDataset:
    """Check the annotation of a data set described by a yaml, which is right itself.

    Args:
        custom: what the yaml says.

    Returns:
        CheckedDataset: the problems, and the key frames to look up in the media.
    """
    checked = CheckedDataset(custom.path, custom.annotations)
    table = checked.read(
        "row",
        custom.annotations,
        lambda path, **options: read_table(custom, **options),
        _empty_table(custom.annotations),
        on_error=checked.unreadable(custom.annotations, "row"),
    )
    checked.num_rows = len(table) + len(table.empty_lines)
    checked.first_lines |= first_line_of_videos(table)
    excluded: set[tuple[str, float]] = set()
    if custom.excluded is not None:
        excluded = checked.read(
            "row",
            custom.excluded,
            lambda path, **options: read_excluded(custom, **options),
            set(),
            on_error=checked.unreadable(custom.excluded, "row"),
        )
    checked.add_faults(value_faults(custom, table))
    _check_duplicates(checked, table)
    checked.add_faults(person_faults(custom, table))
    _check_excluded(checked, table, excluded)
    faults = list(video_id_faults(custom, table))
    checked.add_faults(faults)
    paths = video_paths(checked.first_lines, frames_dir=custom.videos, videos_dir=custom.videos)
    _check_stored(checked, paths, told={fault.line for fault in faults})
    pixel_boxes = _pixel_boxes(table) if custom.boxes == "pixels" else {}
    for (video_id, time), line in sorted(key_frame_lines(table).items()):
        if (start := custom.find_start(video_id)) is None:
            continue
        if message := time_fault(custom, time, start):
            checked.error("time", message, line=line)
        elif (video_id, time) not in excluded:
            record = _record(video_id, time, paths[video_id], custom.fps, start)
            if custom.timestamps == "frames":
                record["frame_number"] = int(time)
            if video_id in pixel_boxes:
                record["pixel_boxes"] = pixel_boxes[video_id]
            checked.records.append(record)
    if custom.timestamps == "seconds":
        checked.needs_2020 = beyond_whole_seconds(table)
    return checked


def check_tubes(
    name: str,
    tubes: dict[str, list[ActionTube]],
    num_frames: dict[str, int],
    records: list[dict],
    *,
    num_actions: int,
) -> CheckedDataset:
    """Check a data set of action tubes, which come from a pickle and so have no lines.

    Args:
        name: of the data set.
        tubes: by video id.
        num_frames: number of the last frame by video id.
        records: its dataset dicts.
        num_actions: A.

    Returns:
        CheckedDataset: the problems, and the frames to look up in the media.
    """
    checked = CheckedDataset(name, name, records=records)
    sizes = {r["video_id"]: (r["width"], r["height"]) for r in records if "height" in r}
    for video_id, video_tubes in tubes.items():
        checked.first_lines[video_id] = None
        for index, tube in enumerate(video_tubes):
            checked.num_rows += len(tube.frames)
            where = f"video {video_id!r}, tube {index}"
            if not 0 <= tube.label < num_actions:
                checked.error("class", f"{where}: label {tube.label}, there are {num_actions}")
            if len(tube.frames) and tube.frames[-1] > num_frames[video_id]:
                last = f"frame {tube.frames[-1]} of {num_frames[video_id]}"
                checked.error("time", f"{where}: {last}")
            width, height = sizes.get(video_id, (np.inf, np.inf))
            empty = (tube.boxes[:, :2] >= tube.boxes[:, 2:]).any(axis=1)
            # Coordinates of these data sets are inclusive or exclusive: one pixel is in doubt.
            outside = (tube.boxes < -1).any(axis=1) | (tube.boxes[:, 2] > width + 1)
            outside |= tube.boxes[:, 3] > height + 1
            for frame in tube.frames[empty]:
                checked.error("empty-box", f"{where}, frame {frame}: x1 >= x2 or y1 >= y2")
            for frame in tube.frames[outside & ~empty]:
                checked.warn("outside", f"{where}, frame {frame}: the box leaves the frame")
    return checked


def shared_videos(datasets: Iterable[CheckedDataset]) -> Iterator[Problem]:
    """Find videos that are in several data sets, as those of training and validation must not.

    Videos of one name in different folders are different ones.

    Args:
        datasets: checked data sets that belong together.

    Yields:
        Problem: one for each shared video of each pair, at its first line in the second one.
    """
    for first, second in itertools.combinations(datasets, 2):
        one, other = ({r["video_id"]: r["video"] for r in c.records} for c in (first, second))
        for video_id, line in second.first_lines.items():
            same = {paths.get(video_id) for paths in (one, other)} - {None}
            if video_id in first.first_lines and len(same) < 2:
                message = f"video {video_id!r} is in {first.name} and in {second.name}"
                yield Problem("error", "overlap", second.source, line, message)


def _empty_table(path: str) -> AVATable:
    nothing = np.empty(0)
    columns = (nothing.astype(int), nothing, nothing.reshape(0, 4), nothing.astype(int), nothing)
    return AVATable(path, (), *columns, nothing.astype(int))


def _read_table(checked: CheckedDataset, path: str) -> AVATable:
    add = checked.unreadable(path, "row")
    empty = _empty_table(path)
    table = checked.read("row", path, read_ava_csv, empty, ava_kinetics=True, on_error=add)
    checked.num_rows = len(table) + len(table.empty_lines)
    checked.first_lines |= first_line_of_videos(table)
    for video_id, line in checked.first_lines.items():
        if "\0" in video_id:
            checked.error("row", "a NUL character in the video id", line=line)
    return table


def _read_excluded(checked: CheckedDataset, path: str | None) -> set[tuple[str, float]]:
    if path is None:
        return set()
    add = checked.unreadable(path, "row")
    return checked.read("row", path, read_timestamps, set(), ava_kinetics=True, on_error=add)


def _check_actions(checked: CheckedDataset, table: AVATable, actions: Collection[int]) -> None:
    for row in np.flatnonzero(~np.isin(table.action_ids, list(actions))):
        message = f"action {table.action_ids[row]} is not in the label map"
        checked.error("class", message, **_at(table, row))


def _check_duplicates(checked: CheckedDataset, table: AVATable) -> None:
    person = np.nan_to_num(table.last_column, nan=-1)
    columns = [table.video_index, table.timestamps, table.boxes, table.action_ids, person]
    for before, row in repeated_rows(np.column_stack(columns)):
        message = f"the same row as line {table.lines[before]}"
        checked.warn("duplicate", message, **_at(table, row))


def _check_videos(checked: CheckedDataset, table: AVATable, known: Collection[str]) -> None:
    if known:
        for video_id, line in checked.first_lines.items():
            if video_id not in known:
                message = f"video {video_id!r} is not in the list of videos"
                checked.error("unknown-video", message, line=line)


def _check_stored(checked: CheckedDataset, paths: dict[str, str], *, told: set[int]) -> None:
    """Look for the media; the videos of some lines are known to be at fault."""
    for video_id, line in checked.first_lines.items():
        path = paths[video_id]
        if "\0" in video_id or not os.path.exists(path):
            checked.missing_videos.add(video_id)
            if line not in told:
                message = f"video {video_id!r}: {missing_media(path)}{_alike(path)}"
                checked.error("unknown-video", message, line=line)
        elif others := _other_media(path, video_id):
            message = f"video {video_id!r} is {path}, and there is {', '.join(others)} too"
            checked.warn("ambiguous-video", message, line=line)


def _alike(path: str) -> str:
    """Return the name of a video that differs by small and capital letters alone, as advice."""
    folder, name = os.path.split(os.path.splitext(path)[0])
    stored = (os.path.splitext(entry)[0] for entry in _listing(folder))
    found = [stem for stem in stored if stem != name and stem.casefold() == name.casefold()]
    return f"; did you mean {found[0]!r}?" if found else ""


def _other_media(path: str, video_id: str) -> list[str]:
    """Return other files of the name of a video, and its frames."""
    name = os.path.basename(video_id)
    candidates = {name, *(name + ending for ending in VIDEO_EXTENSIONS)}
    stored = _listing(os.path.dirname(path))
    return sorted(candidates & stored - {os.path.basename(path)})


@functools.lru_cache(maxsize=8)
def _listing(folder: str) -> frozenset[str]:
    return frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()


def _pixel_boxes(table: AVATable) -> dict[str, PixelBoxes]:
    """Return the boxes of each video, in file order."""
    rows = np.argsort(table.video_index, kind="stable")
    ends = np.cumsum(np.bincount(table.video_index, minlength=len(table.videos)))
    return {
        video_id: PixelBoxes(table.source, table.lines[members], table.boxes[members])
        for video_id, members in zip(table.videos, np.split(rows, ends[:-1]))
    }


def _check_seconds(
    checked: CheckedDataset,
    lines: dict[tuple[str, float], int],
    seconds: Collection[float],
    infos: dict[str, VideoInfo],
) -> None:
    seconds = set(seconds)
    for (video_id, second), line in lines.items():
        if seconds and second not in seconds:
            message = f"second {second:g} is not in the list of annotated seconds"
            checked.error("time", message, line=line)
            continue
        info = infos.get(video_id)
        if info is None:
            continue
        end = np.inf
        if info.num_frames is not None:
            end = info.start_second + info.num_frames / info.fps
        if not info.start_second <= second < end:
            span = f"from {info.start_second:g} to {end:g} s"
            message = f"second {second:g} is outside of video {video_id!r}, {span}"
            checked.error("time", message, line=line)


def _check_excluded(
    checked: CheckedDataset, table: AVATable, excluded: Collection[tuple[str, float]]
) -> None:
    labelled: dict[tuple[str, float], int] = {}
    if excluded:
        rows = zip(table.video_ids.tolist(), table.timestamps.tolist(), table.lines.tolist())
        for video_id, second, line in rows:
            if (video_id, second) in excluded:
                labelled.setdefault((video_id, second), line)
    for (video_id, second), line in labelled.items():
        message = f"key frame {second:g} of video {video_id!r} is excluded but has labels"
        checked.warn("excluded", message, line=line)


def _record(video_id: str, time: float, path: str, fps: float, start_second: float) -> dict:
    return {
        "video_id": video_id,
        "timestamp": time,
        "video": path,
        "fps": fps,
        "start_second": start_second,
    }


def _at(table: AVATable, row: int) -> dict:
    return {"line": int(table.lines[row])}
