"""AVA: the official csv, label maps and key frame lists as a list of detectron2 dataset dicts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tubedet.data.annotations.ava_csv import AVATable, read_ava_csv, read_label_map, read_timestamps
from tubedet.data.annotations.video_lists import (
    VideoInfo,
    read_file_names,
    read_seconds,
    read_video_infos,
)
from tubedet.data.video.media_paths import video_paths

logger = logging.getLogger(__name__)

KeyFrame = tuple[str, float]


@dataclass(frozen=True)
class AVAFiles:
    """Where the files of one split of AVA, or of a data set in its format, are.

    Attributes:
        groundtruth_csv: the official csv, rows ``video_id,timestamp,x1,y1,x2,y2,action_id`` with
            or without a person id as 8th column; rows with the first two columns only are key
            frames which hold nobody.
        action_list: label map (pbtxt) with all actions that are trained (AVA: 80).
        label_map: label map with the actions that are evaluated (AVA: 60).
        exclusions_csv: key frames without reliable annotation, or None.
        included_timestamps: list of the seconds which were annotated in every video, or None.
        file_names: list of the videos of the split, or None.
        video_info_csv: sizes and frame rates of the stored videos, or None; columns ``video_id,
            height,width,fps,start_second,num_frames``.
        frames_dir: folder with a folder of frames for each video.
        videos_dir: folder with video files.
        fps: frame rate of the stored frames, where ``video_info_csv`` does not tell.
        start_second: film time of the first stored frame, where ``video_info_csv`` does not tell.
        how_to_get: what to do when a file is missing; part of that error.

    The lists of seconds and videos and the video info are used if the files exist; without them
    the key frames are those of the csv, and sizes are read from the videos.
    """

    groundtruth_csv: str
    action_list: str
    label_map: str
    exclusions_csv: str | None = None
    included_timestamps: str | None = None
    file_names: str | None = None
    video_info_csv: str | None = None
    frames_dir: str = "frames"
    videos_dir: str = "videos"
    fps: float = 30.0
    start_second: float = 900.0
    how_to_get: str = ""


def register_ava(name: str, files: AVAFiles) -> None:
    """Register a data set in the format of AVA under a name.

    The metadata hold ``groundtruth_csv``, ``label_map``, ``exclusions_csv`` (paths),
    ``action_names`` (list of A names; column k of every action array is the action with id k + 1),
    ``evaluated_ids`` (action ids, from 1), ``evaluator_type`` "ava" and ``ava_files``.

    Args:
        name: name for the configs, e.g. "ava_v2.1_train".
        files: where everything is; only the two label maps must exist already.

    Raises:
        AnnotationError: if a label map breaks its format.
        FileNotFoundError: if a label map is missing.
    """
    actions = read_label_map(_required(files.action_list, name, files))
    evaluated = read_label_map(_required(files.label_map, name, files))
    DatasetCatalog.register(name, lambda: load_ava(files, name=name))
    MetadataCatalog.get(name).set(
        groundtruth_csv=files.groundtruth_csv,
        label_map=files.label_map,
        exclusions_csv=files.exclusions_csv,
        action_names=[actions.get(k, f"action {k}") for k in range(1, max(actions) + 1)],
        evaluated_ids=sorted(evaluated),
        evaluator_type="ava",
        ava_files=files,
    )


def load_ava(files: AVAFiles, *, name: str = "AVA") -> list[dict]:
    """Make the list of key frames; opens annotation files only, no video.

    One dict per key frame, in the order of video ids and seconds: ``video_id``, ``timestamp``
    (float seconds on the film's clock), ``video`` (path of a frame folder or video file), ``fps``,
    ``start_second``, ``annotations``, and ``height`` and ``width`` if the video info csv tells. An
    annotation is one person: ``bbox`` (XYXY), ``bbox_mode``, ``actions`` (sorted 0-based ids) and
    ``person_id`` (-1 if unknown). Rows with the same box and person id are one annotation.

    Excluded key frames are left out. Rows with an action outside of the action list are ignored,
    and with them the boxes which have no other one, as in TubeR. Key frames without a usable box
    stay, with no annotations: evaluation needs them, and detectron2 removes them for training.

    Args:
        files: where everything is.
        name: name of the data set for messages.

    Returns:
        list of dataset dicts.

    Raises:
        AnnotationError: if a file breaks its format.
        FileNotFoundError: if a file is missing; the message says how to get it.
    """
    table = read_ava_csv(_required(files.groundtruth_csv, name, files), ava_kinetics=True)
    known_actions = read_label_map(_required(files.action_list, name, files))
    excluded: set[KeyFrame] = set()
    if files.exclusions_csv is not None:
        exclusions_csv = _required(files.exclusions_csv, name, files)
        excluded = read_timestamps(exclusions_csv, ava_kinetics=True)
    video_infos = read_video_infos(files.video_info_csv) if _exists(files.video_info_csv) else {}

    persons = persons_by_key_frame(table, known_actions, video_infos)
    key_frames = set(zip(table.video_ids.tolist(), table.timestamps.tolist(), strict=True))
    key_frames.update(table.empty_key_frames)
    key_frames.update(_listed_key_frames(files))
    num_excluded = len(key_frames & excluded)
    video_ids = {video_id for video_id, _ in key_frames}
    videos = video_paths(video_ids, frames_dir=files.frames_dir, videos_dir=files.videos_dir)

    dataset_dicts = []
    for video_id, timestamp in sorted(key_frames - excluded):
        info = video_infos.get(video_id)
        record = {
            "video_id": video_id,
            "timestamp": timestamp,
            "video": videos[video_id],
            "fps": info.fps if info else files.fps,
            "start_second": info.start_second if info else files.start_second,
            "annotations": persons.get((video_id, timestamp), []),
        }
        if info:
            record.update(height=info.height, width=info.width)
        dataset_dicts.append(record)
    logger.info(
        "%s: %d key frames of %d videos, %d of them without a usable box, %d boxes from %d rows; "
        "left out: %d excluded key frames, %d rows with an action outside of the action list",
        name,
        len(dataset_dicts),
        len(videos),
        sum(not record["annotations"] for record in dataset_dicts),
        sum(len(record["annotations"]) for record in dataset_dicts),
        len(table),
        num_excluded,
        np.count_nonzero(~np.isin(table.action_ids, list(known_actions))),
    )
    return dataset_dicts


def check_files(files: AVAFiles, name: str) -> None:
    """Make sure that the files exist without which a data set cannot be read.

    Args:
        files: where everything is.
        name: name of the data set for messages.

    Raises:
        FileNotFoundError: if one is missing; the message says how to get it.
    """
    for path in (files.groundtruth_csv, files.action_list, files.label_map, files.exclusions_csv):
        if path is not None:
            _required(path, name, files)


def persons_by_key_frame(
    table: AVATable, known_actions: Iterable[int], video_infos: dict[str, VideoInfo]
) -> dict[KeyFrame, list[dict]]:
    """Group the rows of a csv into persons and those into key frames.

    The csv has boxes as fractions of the frame. Where the size of the stored video is known
    without opening it, boxes become pixels of it (``XYXY_ABS``); elsewhere they stay fractions
    (``XYXY_REL``), and the dataset mapper scales them when it has opened the video.
    """
    rows = np.flatnonzero(np.isin(table.action_ids, list(known_actions)))
    person_ids = table.person_ids
    identity = np.column_stack(
        [table.video_index[rows], table.timestamps[rows], table.boxes[rows], person_ids[rows]]
    )
    order = np.lexsort(identity.T[::-1])
    identity, rows = identity[order], rows[order]
    is_new = np.ones(len(rows), dtype=bool)
    is_new[1:] = (identity[1:] != identity[:-1]).any(axis=1)
    starts = np.flatnonzero(is_new)
    ends = np.append(starts, len(rows))[1:].tolist()
    first_rows = rows[starts]

    infos = [video_infos.get(video_id) for video_id in table.videos]
    scales = [(i.width, i.height, i.width, i.height) if i else (1, 1, 1, 1) for i in infos]
    video_of_box = table.video_index[first_rows]
    boxes = table.boxes[first_rows] * np.reshape(scales, (-1, 4))[video_of_box]
    actions = (table.action_ids[rows] - 1).tolist()

    persons: dict[KeyFrame, list[dict]] = {}
    for start, end, video, timestamp, box, person_id in zip(
        starts.tolist(),
        ends,
        video_of_box.tolist(),
        table.timestamps[first_rows].tolist(),
        boxes.tolist(),
        person_ids[first_rows].tolist(),
        strict=True,
    ):
        annotation = {
            "bbox": box,
            "bbox_mode": BoxMode.XYXY_ABS if infos[video] else BoxMode.XYXY_REL,
            "actions": sorted(set(actions[start:end])),
            "person_id": person_id,
        }
        persons.setdefault((table.videos[video], timestamp), []).append(annotation)
    return persons


def _listed_key_frames(files: AVAFiles) -> set[KeyFrame]:
    """Every annotated second of every video of the split, if both lists exist."""
    if not (_exists(files.included_timestamps) and _exists(files.file_names)):
        return set()
    seconds = read_seconds(files.included_timestamps)
    return {(video_id, s) for video_id in read_file_names(files.file_names) for s in seconds}


def _exists(path: str | None) -> TypeGuard[str]:
    return path is not None and os.path.isfile(path)


def _required(path: str, name: str, files: AVAFiles) -> str:
    if not os.path.isfile(path):
        advice = f" {files.how_to_get}" if files.how_to_get else ""
        raise FileNotFoundError(f"{path}, a file of the data set {name!r}, does not exist.{advice}")
    return path
