"""Data sets annotated with action tubes, frame by frame: one dataset dict for each frame."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tubedet.data.annotations.tube_files import ActionTube, AnnotatedVideo
from tubedet.data.video.media_paths import video_paths

logger = logging.getLogger(__name__)


def register_action_tubes(
    name: str,
    load_videos: Callable[[], dict[str, AnnotatedVideo]],
    *,
    action_names: Sequence[str],
    frames_dir: str,
    videos_dir: str,
    fps: float,
    exclusive_actions: bool,
) -> None:
    """Register a data set of action tubes under a name; nothing is opened.

    The metadata hold ``action_names`` (A names by 0-based class), ``exclusive_actions``,
    ``evaluator_type`` "action_tubes", and three callables: ``tubes()`` gives the tubes of each
    video, ``{video_id: [ActionTube]}``, ``num_frames()`` the number of its last frame,
    ``{video_id: n}``, and ``key_frames()`` the numbers of its annotated frames, a list or None for
    all of them. Files are read once per process, when something is asked for.

    Args:
        name: name for the configs, e.g. "jhmdb_split1_train".
        load_videos: reads the annotation.
        action_names: A names.
        frames_dir: folder with a folder of frames for each video.
        videos_dir: folder with video files.
        fps: frames per second, where the stored video does not tell.
        exclusive_actions: every person does exactly one action.
    """
    videos = functools.cache(load_videos)

    def load_dicts() -> list[dict]:
        paths = video_paths(videos(), frames_dir=frames_dir, videos_dir=videos_dir)
        return frame_dicts(videos(), paths, name=name, fps=fps)

    DatasetCatalog.register(name, load_dicts)
    MetadataCatalog.get(name).set(
        action_names=list(action_names),
        exclusive_actions=exclusive_actions,
        evaluator_type="action_tubes",
        tubes=functools.cache(lambda: {v: video.tubes for v, video in videos().items()}),
        num_frames=functools.cache(lambda: {v: video.num_frames for v, video in videos().items()}),
        key_frames=functools.cache(lambda: {v: video.key_frames for v, video in videos().items()}),
    )


def frame_dicts(
    videos: dict[str, AnnotatedVideo], paths: dict[str, str], *, name: str, fps: float
) -> list[dict]:
    """Make the list of frames.

    One dict per key frame, in the order of videos and frames: ``video_id``, ``frame_number`` (from
    1; it says which stored frame is meant), ``timestamp`` (seconds at the rate ``fps``), ``video``,
    ``fps``, ``start_second`` 0, ``dataset`` (the name under which the metadata have the tubes) and
    ``annotations``, and ``height`` and ``width`` if the annotation tells them. An annotation is a
    person: ``bbox`` (XYXY pixels), ``bbox_mode``, ``actions`` (sorted, 0-based), ``person_id``.

    Args:
        videos: the annotation.
        paths: path of each video.
        name: name of the data set.
        fps: frames per second, nominal.

    Returns:
        list of dataset dicts; frames without a person are among them.
    """
    dicts = []
    for video_id, video in videos.items():
        shared = {
            "video_id": video_id,
            "video": paths[video_id],
            "fps": fps,
            "start_second": 0.0,
            "dataset": name,
        }
        if video.size is not None:
            shared["height"], shared["width"] = video.size
        persons = _persons_by_frame(video.tubes)
        for number in video.key_frames or range(1, video.num_frames + 1):
            annotations = persons.get(number, [])
            timing = {"frame_number": number, "timestamp": (number - 1) / fps}
            dicts.append({**shared, **timing, "annotations": annotations})
    logger.info(
        "%s: %d frames of %d videos, %d of them without a person; %d tubes with %d boxes",
        name,
        len(dicts),
        len(videos),
        sum(not record["annotations"] for record in dicts),
        sum(len(video.tubes) for video in videos.values()),
        sum(len(tube.frames) for video in videos.values() for tube in video.tubes),
    )
    return dicts


def tube_boxes(dataset_dict: dict, frame_numbers: np.ndarray, *, num_stored: int) -> np.ndarray:
    """Boxes of the persons of a key frame in other frames of the video.

    Args:
        dataset_dict: as made by :func:`frame_dicts`; its data set must be registered.
        frame_numbers: (T,) int, numbers of stored frames from 1. Those outside of the video mean
            its first or last frame, which is what readers show for them.
        num_stored: number of the stored frames.

    Returns:
        float64 array (N, T, 4), XYXY in pixels of the stored video, NaN where a person has no box.
    """
    metadata, video_id = MetadataCatalog.get(dataset_dict["dataset"]), dataset_dict["video_id"]
    tubes: list[ActionTube] = metadata.tubes()[video_id]
    frame_numbers = frame_numbers.clip(1, num_stored)
    annotations = dataset_dict["annotations"]
    boxes = np.full((len(annotations), len(frame_numbers), 4), np.nan)
    for row, annotation in zip(boxes, annotations):
        for tube in tubes:
            if tube.person_id == annotation["person_id"]:
                found = tube.boxes_at(frame_numbers)
                np.copyto(row, found, where=~np.isnan(found))
    return boxes


def other_persons(dataset_dict: dict, frame_numbers: np.ndarray) -> list[dict]:
    """Find persons who have a box in some of these frames but not in the key frame.

    Args:
        dataset_dict: as made by :func:`frame_dicts`; its data set must be registered.
        frame_numbers: (T,) int, numbers of stored frames from 1; there need not be such frames.

    Returns:
        annotations with ``person_id`` and ``actions`` alone, in the order of the tubes.
    """
    metadata, video_id = MetadataCatalog.get(dataset_dict["dataset"]), dataset_dict["video_id"]
    known = {annotation["person_id"] for annotation in dataset_dict["annotations"]}
    actions: dict[int, set[int]] = {}
    for tube in metadata.tubes()[video_id]:
        if tube.person_id not in known and np.isin(tube.frames, frame_numbers).any():
            actions.setdefault(tube.person_id, set()).add(tube.label)
    return [{"person_id": key, "actions": sorted(labels)} for key, labels in actions.items()]


def annotated_frames(
    dataset_dict: dict, frame_numbers: np.ndarray, *, num_stored: int
) -> np.ndarray:
    """Tell which frames are there and annotated, with persons or without.

    Args:
        dataset_dict: as made by :func:`frame_dicts`; its data set must be registered.
        frame_numbers: (T,) int, numbers of stored frames from 1; there need not be such frames.
        num_stored: number of the stored frames.

    Returns:
        bool array (T,).
    """
    metadata, video_id = MetadataCatalog.get(dataset_dict["dataset"]), dataset_dict["video_id"]
    key_frames = metadata.key_frames()[video_id]
    if key_frames is not None:
        return np.isin(frame_numbers, key_frames)
    last = min(num_stored, metadata.num_frames()[video_id])
    return (frame_numbers >= 1) & (frame_numbers <= last)


def _persons_by_frame(tubes: list[ActionTube]) -> dict[int, list[dict]]:
    """Annotations by frame number; the same box of the same person is one, with all its actions."""
    actions: dict[tuple, list[int]] = {}
    for tube in tubes:
        for number, box in zip(tube.frames.tolist(), tube.boxes.tolist()):
            actions.setdefault((number, tube.person_id, *box), []).append(tube.label)
    persons: dict[int, list[dict]] = {}
    for (number, person_id, *box), labels in actions.items():
        annotation = {
            "bbox": box,
            "bbox_mode": BoxMode.XYXY_ABS,
            "actions": sorted(set(labels)),
            "person_id": person_id,
        }
        persons.setdefault(number, []).append(annotation)
    return persons
