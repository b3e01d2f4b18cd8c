"""Custom data sets: a csv in the format of AVA and a small yaml, no code.

A config names the yaml itself, ``DATASETS.TRAIN: ("/path/my.yaml",)``; it is registered under its
path when it is first used.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tubedet.data.annotations.ava_csv import AnnotationError, AVATable
from tubedet.data.annotations.row_faults import beyond_whole_seconds
from tubedet.data.annotations.tube_files import ActionTube, AnnotatedVideo
from tubedet.data.video.media_paths import video_paths
from tubedet.data.video.reader import open_video
from tubedet.errors import UserError

from .action_tubes import register_action_tubes
from .ava import persons_by_key_frame
from .custom_rows import read_checked_table, read_excluded
from .custom_yaml import CustomDataset, read_custom_yaml

logger = logging.getLogger(__name__)

_ENDINGS = (".yaml", ".yml")


def ensure_registered(name: str) -> None:
    """Register a custom data set, unless that has been done.

    Its metadata are those of :func:`tubedet.data.datasets.action_tubes.register_action_tubes` with
    ``timestamps: frames`` in the yaml. With ``seconds`` they hold ``action_names``,
    ``exclusive_actions``, ``evaluator_type`` "ava", and ``groundtruth``, a callable: see
    :func:`read_groundtruth`. Both have ``custom_dataset``, the :class:`CustomDataset`.

    Args:
        name: path of a yaml; names of other data sets are left alone.

    Raises:
        AnnotationError: the yaml is wrong; the message names file, line and key.
        OSError: the yaml cannot be read.
    """
    if not name.endswith(_ENDINGS) or name in DatasetCatalog.list():
        return
    custom = read_custom_yaml(name)
    if custom.timestamps == "frames":
        register_action_tubes(
            name,
            lambda: load_tubes(custom),
            action_names=custom.action_names,
            frames_dir=custom.videos,
            videos_dir=custom.videos,
            fps=custom.fps,
            exclusive_actions=custom.exclusive,
        )
    else:
        DatasetCatalog.register(name, lambda: load_key_frames(custom))
        MetadataCatalog.get(name).set(
            action_names=custom.action_names,
            exclusive_actions=custom.exclusive,
            evaluator_type="ava",
            groundtruth=lambda *, ava_kinetics: read_groundtruth(custom, ava_kinetics=ava_kinetics),
        )
    MetadataCatalog.get(name).set(custom_dataset=custom)


def check_actions(cfg: CfgNode, name: str) -> None:
    """Make sure that a config's model can learn or predict the actions of a data set.

    Args:
        cfg: the config.
        name: name of a data set, or path of a yaml, which is registered.

    Raises:
        UserError: the numbers of actions differ, or the model wants one action per person and
            the data set has several.
    """
    ensure_registered(name)
    if cfg.MODEL.PERSON_ONLY:  # no action is learned
        return
    metadata = MetadataCatalog.get(name)
    names = metadata.get("action_names", None)
    if names is not None and len(names) != cfg.MODEL.NUM_ACTIONS:
        raise UserError(
            f"data set {name!r} has {len(names)} actions, MODEL.NUM_ACTIONS is "
            f"{cfg.MODEL.NUM_ACTIONS}"
        )
    if cfg.MODEL.EXCLUSIVE_ACTIONS and not metadata.get("exclusive_actions", False):
        raise UserError(
            f"MODEL.EXCLUSIVE_ACTIONS is True, but persons of the data set {name!r} may do several "
            "actions at once; if they do not, say 'exclusive: true' in its yaml"
        )


def file_stem(name: str) -> str:
    """Return what files that belong to a data set are named after.

    Args:
        name: name of a data set, or path of a yaml.

    Returns:
        str: without folders and the ending of a yaml; slashes of other names become underscores.
    """
    return Path(name).stem if name.endswith(_ENDINGS) else name.replace("/", "_")


def load_key_frames(custom: CustomDataset) -> list[dict]:
    """Make the list of key frames of a data set with ``timestamps: seconds``.

    Args:
        custom: its description.

    Returns:
        dataset dicts as of :func:`.load_ava`, without ``height`` and ``width``.

    Raises:
        AnnotationError: a csv breaks its format; the message names file and line.
        OSError: a csv cannot be read.
    """
    table = read_checked_table(custom)
    persons = persons_by_key_frame(table, custom.classes, {})
    key_frames = set(zip(table.video_ids.tolist(), table.timestamps.tolist()))
    key_frames.update(table.empty_key_frames)
    key_frames -= read_excluded(custom)
    videos = video_paths(
        {video_id for video_id, _ in key_frames}, frames_dir=custom.videos, videos_dir=custom.videos
    )
    dicts = []
    for video_id, timestamp in sorted(key_frames):
        annotations = persons.get((video_id, timestamp), [])
        if custom.boxes == "pixels":
            for annotation in annotations:
                annotation["bbox_mode"] = BoxMode.XYXY_ABS
        dicts.append(
            {
                "video_id": video_id,
                "timestamp": timestamp,
                "video": videos[video_id],
                "fps": custom.fps,
                "start_second": custom.start_of(video_id),
                "annotations": annotations,
            }
        )
    logger.info("%s: %d key frames of %d videos", custom.path, len(dicts), len(videos))
    return dicts


def load_tubes(custom: CustomDataset) -> dict[str, AnnotatedVideo]:
    """Make the tubes of a data set with ``timestamps: frames``.

    The rows of one person and one action in a video are a tube; it ends where an annotated frame of
    the video does not have it, and another one of the same person may begin later. With
    ``boxes: fractions`` the videos are opened, to learn their sizes.

    Args:
        custom: its description.

    Returns:
        Annotated videos in alphabetical order; their key frames are those which the csv lists.

    Raises:
        AnnotationError: a csv breaks its format; the message names file and line.
        OSError: a csv, or a video whose size is needed, cannot be read.
    """
    table = read_checked_table(custom)
    excluded = read_excluded(custom)
    key_frames: dict[str, set[int]] = {}
    listed = [*zip(table.video_ids.tolist(), table.timestamps.tolist()), *table.empty_key_frames]
    for video_id, number in set(listed) - excluded:
        key_frames.setdefault(video_id, set()).add(int(number))
    boxes = table.boxes
    if custom.boxes == "fractions":
        boxes = boxes * _frame_scales(custom, table)

    tubes: dict[str, list[ActionTube]] = {video_id: [] for video_id in sorted(key_frames)}
    places = {
        (video_id, number): place
        for video_id, numbers in key_frames.items()
        for place, number in enumerate(sorted(numbers))
    }
    row_places = np.array([places.get(key, -1) for key in listed[: len(table)]], dtype=np.int64)
    columns = (table.timestamps, table.action_ids, table.person_ids, table.video_index)
    rows = np.lexsort(columns)
    rows = rows[row_places[rows] >= 0]  # the others are excluded
    identity = np.column_stack(columns[1:])[rows]
    is_start = (identity[1:] != identity[:-1]).any(axis=1) | (np.diff(row_places[rows]) > 1)
    starts = np.flatnonzero(is_start) + 1
    for members in np.split(rows, starts) if len(rows) else ():
        first = members[0]
        tube = ActionTube(
            label=int(table.action_ids[first]) - 1,
            frames=table.timestamps[members].astype(np.int64),
            boxes=boxes[members].astype(np.float32),
            person_id=int(table.person_ids[first]),
        )
        tubes[table.videos[table.video_index[first]]].append(tube)
    return {
        video_id: AnnotatedVideo(
            tubes[video_id], max(key_frames[video_id]), key_frames=sorted(key_frames[video_id])
        )
        for video_id in tubes
    }


def read_groundtruth(
    custom: CustomDataset, *, ava_kinetics: bool
) -> tuple[AVATable, dict[int, str], set[tuple[str, float]]]:
    """Read what an evaluation of a data set with ``timestamps: seconds`` needs.

    With ``boxes: pixels`` the videos are opened, to learn their sizes.

    Args:
        custom: its description.
        ava_kinetics: for the protocol of 2020, which knows no excluded key frames, so they are
            left out of the table; otherwise seconds must be whole and no key frame empty.

    Returns:
        The table with boxes as fractions, the label map, and the excluded key frames.

    Raises:
        AnnotationError: a csv breaks its format; the message names file and line.
        OSError: a csv, or a video whose size is needed, cannot be read.
    """
    table = read_checked_table(custom)
    if not ava_kinetics and (fault := beyond_whole_seconds(table)):
        raise AnnotationError(f"{custom.annotations}:{fault.line}: {fault.message}")
    if custom.boxes == "pixels":
        table = dataclasses.replace(table, boxes=_fractions(custom, table))
    excluded = read_excluded(custom)
    if ava_kinetics:
        table, excluded = _without(table, excluded), set()
    return table, custom.classes, excluded


def check_pixel_boxes(custom: CustomDataset) -> None:
    """Open the videos of a data set with ``boxes: pixels`` and compare boxes with their sizes.

    Args:
        custom: its description.

    Raises:
        AnnotationError: if a box reaches beyond the frames; the message names file and line.
        OSError: if the csv or a video cannot be read.
    """
    _fractions(custom, read_checked_table(custom))


def _without(table: AVATable, excluded: set[tuple[str, float]]) -> AVATable:
    keys = zip(table.video_ids.tolist(), table.timestamps.tolist())
    kept = table.select(np.array([key not in excluded for key in keys], dtype=bool))
    empty = [
        (key, line)
        for key, line in zip(table.empty_key_frames, table.empty_lines)
        if key not in excluded
    ]
    return dataclasses.replace(
        kept,
        empty_key_frames=tuple(key for key, _ in empty),
        empty_lines=tuple(line for _, line in empty),
    )


def _fractions(custom: CustomDataset, table: AVATable) -> np.ndarray:
    """(N, 4) boxes in pixels as fractions of their frames."""
    scales = _frame_scales(custom, table)
    outside = (table.boxes > scales + 1).any(axis=1)  # tools differ by a pixel
    if outside.any():
        row = np.flatnonzero(outside)[0]
        width, height = scales[row, :2].astype(int)
        raise AnnotationError(
            f"{custom.annotations}:{table.lines[row]}: the box reaches beyond the frames, which "
            f"have {width}x{height} pixels; were the videos made smaller after they were annotated?"
        )
    return table.boxes / scales


def _frame_scales(custom: CustomDataset, table: AVATable) -> np.ndarray:
    """(N, 4) width, height, width, height of the video of each row, pixels."""
    paths = video_paths(table.videos, frames_dir=custom.videos, videos_dir=custom.videos)
    sizes = np.empty((len(table.videos), 4))
    for row, video_id in zip(sizes, table.videos):
        with open_video(paths[video_id], folder_fps=custom.fps) as reader:
            row[:] = (reader.width, reader.height) * 2
    return sizes[table.video_index]
