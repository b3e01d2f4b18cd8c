"""The annotations of one video at any time, to be shown beside detections."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from tubedet.data import ensure_registered
from tubedet.errors import UserError

# Of the shortest time between two key frames: farther ones have a part between them without labels.
_NEIGHBOURS = 1.5


class VideoGroundTruth:
    """Annotated persons, whose boxes move between key frames as those of detections do.

    Args:
        records: dataset dicts of one video; those of key frames without anybody may be missing.
        action_names: A names.

    Attributes:
        action_names: as given.
    """

    def __init__(self, records: Sequence[dict], action_names: Sequence[str]):
        self.action_names = list(action_names)
        keys: dict[float, list[dict]] = defaultdict(list)
        for record in records:
            time = float(record["timestamp"] - record["start_second"])
            keys[time] += [_relative(a, record) for a in record["annotations"]]
        self._times = np.array(sorted(keys))
        self._keys = [keys[time] for time in self._times]
        self._spacing = float(np.diff(self._times).min()) if len(keys) > 1 else 1.0

    def at(self, time: float) -> list[dict] | None:
        """Return the annotations at a time, those of a dataset dict with boxes XYXY_REL.

        A person of two neighbouring key frames moves linearly from one to the other; other persons,
        and those without a ``person_id``, are shown at the nearer one.

        Args:
            time: seconds since the first frame of the video.

        Returns:
            the persons; None: nothing is annotated within half a key frame's distance.
        """
        number = int(np.searchsorted(self._times, time, side="right")) - 1
        around = [n for n in (number, number + 1) if 0 <= n < len(self._times)]
        near = min(around, key=lambda n: abs(self._times[n] - time), default=None)
        if near is None:
            return None
        length = self._times[around[-1]] - self._times[around[0]]
        if len(around) < 2 or length > _NEIGHBOURS * self._spacing:
            return self._keys[near] if abs(self._times[near] - time) <= self._spacing / 2 else None
        fraction = (time - self._times[number]) / length
        later = {a["person_id"]: a for a in self._keys[number + 1] if a["person_id"] >= 0}
        earlier = {a["person_id"] for a in self._keys[number]}
        shown = []
        for annotation in self._keys[number]:
            if (other := later.get(annotation["person_id"])) is not None:
                box = annotation["bbox"] + fraction * (other["bbox"] - annotation["bbox"])
                shown.append({**(annotation if near == number else other), "bbox": box})
            elif near == number:
                shown.append(annotation)
        if near != number:
            shown += [a for a in self._keys[near] if not (0 <= a["person_id"] in earlier)]
        return shown


def read_ground_truth(dataset: str, video: str) -> VideoGroundTruth:
    """Read the annotations of a video.

    Args:
        dataset: registered name, or the yaml of a custom data set.
        video: path of a video file or a folder of frames.

    Raises:
        UserError: if there is no such data set, or it has no annotation of this video.
    """
    ensure_registered(dataset)
    if dataset not in DatasetCatalog.list():
        raise UserError(f"no data set {dataset!r}: give a registered name or the path of a yaml")
    path = os.path.realpath(video)
    records = [r for r in DatasetCatalog.get(dataset) if os.path.realpath(r["video"]) == path]
    if not records:
        raise UserError(f"data set {dataset!r} has no annotations of {video}")
    return VideoGroundTruth(records, MetadataCatalog.get(dataset).action_names)


def _relative(annotation: dict, record: dict) -> dict:
    """Return an annotation with its box as a float array, XYXY_REL, and with a ``person_id``."""
    box = np.asarray(annotation["bbox"], dtype=float)
    if annotation["bbox_mode"] != BoxMode.XYXY_REL:
        box = BoxMode.convert(box[None], annotation["bbox_mode"], BoxMode.XYXY_ABS)[0]
        width, height = record["width"], record["height"]
        box = box / (width, height, width, height)
    return {
        "bbox": box,
        "bbox_mode": BoxMode.XYXY_REL,
        "actions": annotation["actions"],
        "person_id": annotation.get("person_id", -1),
    }
