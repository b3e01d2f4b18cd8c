"""Ground truth of action tubes as the evaluation needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data.annotations.ava_csv import AVATable
from tubedet.data.annotations.tube_files import ActionTube
from tubedet.data.video.reader import VideoError, open_video
from tubedet.errors import UserError

from .tube_linking import MIN_TUBE_LENGTH


@dataclass(frozen=True)
class ActionTubeGroundtruth:
    """The annotated tubes of some videos.

    Attributes:
        source: What messages call it.
        action_names: A names; the name of class k has action id k + 1 in files.
        tubes: Video id to its tubes, boxes in pixels; a video may have none.
        frame_numbers: Video id to the ascending numbers of the frames to evaluate, from 1.
            Detections in other frames and videos do not count.
        frame_sizes: Video id to (height, width) in pixels.
        min_tube_length: Evaluated frames of the shortest tube that is linked from detections.
    """

    source: str
    action_names: Sequence[str]
    tubes: Mapping[str, Sequence[ActionTube]]
    frame_numbers: Mapping[str, Sequence[int]]
    frame_sizes: Mapping[str, tuple[int, int]]
    min_tube_length: int = MIN_TUBE_LENGTH

    def table(self) -> AVATable:
        """One row per tube and frame, as in a csv of AVA: boxes are fractions of the frame.

        Returns:
            AVATable: ``videos`` are those of ``frame_numbers``, ``timestamps`` are frame numbers,
            and action ids count from 1.
        """
        videos = tuple(self.frame_numbers)
        tubes = [(code, tube) for code, video in enumerate(videos) for tube in self.tubes[video]]
        lengths = [len(tube.frames) for _, tube in tubes]
        video_index = np.repeat(np.array([code for code, _ in tubes], dtype=np.int64), lengths)
        boxes = np.concatenate([np.empty((0, 4)), *(tube.boxes for _, tube in tubes)])
        return AVATable(
            source=self.source,
            videos=videos,
            video_index=video_index,
            timestamps=np.concatenate([np.empty(0), *(tube.frames for _, tube in tubes)]),
            boxes=boxes / self.extents(videos)[video_index],
            action_ids=np.repeat(
                np.array([t.label + 1 for _, t in tubes], dtype=np.int64), lengths
            ),
            last_column=np.full(len(boxes), np.nan),
            lines=np.arange(1, len(boxes) + 1),
        )

    def extents(self, videos: Sequence[str]) -> np.ndarray:
        """Return what turns boxes as fractions into pixels.

        Args:
            videos: V known video ids.

        Returns:
            np.ndarray: (V, 4) float64, width, height, width, height of each.
        """
        sizes = np.array([self.frame_sizes[video] for video in videos], dtype=np.float64)
        return sizes.reshape(-1, 2)[:, [1, 0, 1, 0]]


def load_action_tube_groundtruth(dataset_name: str) -> ActionTubeGroundtruth:
    """Ground truth of a registered data set whose ``evaluator_type`` is "action_tubes".

    Frame sizes are those of the dataset dicts; a video of which they tell none is opened.

    Args:
        dataset_name: Name in ``MetadataCatalog``.

    Returns:
        ActionTubeGroundtruth: of all frames that the data set lists.

    Raises:
        AnnotationError: An annotation file breaks its format.
        OSError: A file cannot be read.
        UserError: A video without an annotated size cannot be opened.
    """
    metadata = MetadataCatalog.get(dataset_name)
    numbers: dict[str, list[int]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for record in DatasetCatalog.get(dataset_name):
        video = record["video_id"]
        numbers.setdefault(video, []).append(record["frame_number"])
        if video not in sizes:
            sizes[video] = (
                (record["height"], record["width"])
                if record.get("height") and record.get("width")
                else _stored_size(record, dataset_name)
            )
    tubes = metadata.tubes()
    min_tube_length = MIN_TUBE_LENGTH
    if metadata.get("custom_dataset", None) is not None:  # its shortest tube must be detectable
        lengths = [len(tube.frames) for video in numbers for tube in tubes.get(video, [])]
        min_tube_length = min([MIN_TUBE_LENGTH, *lengths])
    return ActionTubeGroundtruth(
        source=dataset_name,
        action_names=list(metadata.action_names),
        tubes={video: tubes.get(video, []) for video in numbers},
        frame_numbers={video: sorted(frames) for video, frames in numbers.items()},
        frame_sizes=sizes,
        min_tube_length=min_tube_length,
    )


def _stored_size(record: dict, dataset_name: str) -> tuple[int, int]:
    try:
        with open_video(record["video"], folder_fps=record["fps"]) as reader:
            return reader.height, reader.width
    except VideoError as error:
        raise UserError(
            f"{error}; the annotations of {dataset_name} do not say how large frames are, so put "
            "its videos or frames where they are looked for, see docs/datasets.md"
        ) from error
