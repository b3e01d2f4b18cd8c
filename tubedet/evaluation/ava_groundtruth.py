"""Ground truth of AVA-type data sets as the evaluation needs it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
from detectron2.data import MetadataCatalog

from tubedet.data.annotations.ava_csv import AVATable, read_ava_csv, read_label_map, read_timestamps


@dataclass(frozen=True)
class AVAGroundtruth:
    """What predictions are held against.

    Attributes:
        table: Rows of ground truth, boxes as fractions of the frame.
        label_map: Action id to the name of each class to evaluate.
        exclusions: (video id, seconds) of key frames that do not count.
    """

    table: AVATable
    label_map: dict[int, str]
    exclusions: Collection[tuple[str, float]] = ()


def read_ava_groundtruth(
    groundtruth: str | PathLike,
    label_map: str | PathLike,
    exclusions: str | PathLike | None = None,
    *,
    ava_kinetics: bool,
) -> AVAGroundtruth:
    """Read a ground truth from its files, plain or gzip-compressed.

    Args:
        groundtruth: csv of ground truth.
        label_map: pbtxt of the classes to evaluate.
        exclusions: csv of key frames that do not count, or None.
        ava_kinetics: Read the format of 2020, see
            :func:`tubedet.data.annotations.ava_csv.read_ava_csv`.

    Returns:
        AVAGroundtruth: what the files say.

    Raises:
        AnnotationError: A file breaks its format.
        OSError: A file cannot be read.
    """
    return AVAGroundtruth(
        table=read_ava_csv(groundtruth, ava_kinetics=ava_kinetics),
        label_map=read_label_map(label_map),
        exclusions=read_timestamps(exclusions, ava_kinetics=ava_kinetics) if exclusions else set(),
    )


def load_ava_groundtruth(dataset_name: str, *, ava_kinetics: bool) -> AVAGroundtruth:
    """Ground truth of a registered data set whose ``evaluator_type`` is "ava".

    Args:
        dataset_name: Name in ``MetadataCatalog``; its metadata hold the paths ``groundtruth_csv``,
            ``label_map`` and perhaps ``exclusions_csv``, or a callable ``groundtruth``
            (:mod:`tubedet.data.datasets.custom`).
        ava_kinetics: See :func:`read_ava_groundtruth`.

    Returns:
        AVAGroundtruth: of all key frames.

    Raises:
        AnnotationError: A file breaks its format.
        AttributeError: The metadata lack a path.
        OSError: A file cannot be read.
    """
    metadata = MetadataCatalog.get(dataset_name)
    read = metadata.get("groundtruth", None)
    if read is not None:
        return AVAGroundtruth(*read(ava_kinetics=ava_kinetics))
    return read_ava_groundtruth(
        metadata.groundtruth_csv,
        metadata.label_map,
        metadata.get("exclusions_csv", None),
        ava_kinetics=ava_kinetics,
    )


def persons_of(groundtruth: AVAGroundtruth) -> AVAGroundtruth:
    """Return the ground truth of a person detector: every annotated box once, as "person", id 1.

    Args:
        groundtruth: Of actions; the rows of a box with several actions have equal coordinates.
    """
    table = groundtruth.table
    places = np.column_stack((table.video_index, table.timestamps, table.boxes))
    rows = np.sort(np.unique(places, axis=0, return_index=True)[1])
    persons = replace(table.select(rows), action_ids=np.ones(len(rows), dtype=np.int64))
    return replace(groundtruth, table=persons, label_map={1: "person"})


def rows_of(table: AVATable, key_frames: Collection[tuple[str, float]]) -> AVATable:
    """Return the rows of some key frames.

    Args:
        table: Rows of ground truth.
        key_frames: (video id, timestamp) of those that count.
    """
    places = zip(table.video_ids.tolist(), table.timestamps.tolist())
    return table.select(
        np.array([place in key_frames for place in places], dtype=bool).nonzero()[0]
    )
