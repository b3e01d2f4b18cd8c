"""The persons of COCO as key frames, to pre-train person detectors.

An image is a film of one frame, so its clip is that frame repeated.
"""

from __future__ import annotations

import functools
import os

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode

from tubedet.data.annotations.ava_csv import AVATable, parse_ava_csv

PERSON_CATEGORY = 1
_HOW_TO_GET = (
    "{path} does not exist. Download annotations_trainval2017.zip and the images from "
    "https://cocodataset.org/#download and unpack them into {root}."
)


def load_coco_persons(json_file: str, image_root: str) -> list[dict]:
    """One dict per image that shows a person, as for other data sets.

    Crowds and persons without extent are left out; the images are not opened.

    Args:
        json_file: COCO's ``instances_*.json``.
        image_root: folder with the images.

    Returns:
        dicts with ``video_id`` (the image id), ``timestamp`` 0, ``video`` (the image), ``height``,
        ``width``, ``fps``, ``start_second`` and ``annotations``, whose only action is 0.

    Raises:
        FileNotFoundError: if the json is missing; the message says how to get it.
    """
    if not os.path.isfile(json_file):
        root = os.path.dirname(os.path.dirname(json_file))
        raise FileNotFoundError(_HOW_TO_GET.format(path=json_file, root=root))
    key_frames = []
    for image in load_coco_json(json_file, image_root):
        persons = [
            a["bbox"]
            for a in image["annotations"]
            if a["category_id"] == PERSON_CATEGORY and not a["iscrowd"] and min(a["bbox"][2:]) > 0
        ]
        if not persons:
            continue
        key_frames.append(
            {
                "video_id": str(image["image_id"]),
                "timestamp": 0.0,
                "video": image["file_name"],
                "height": image["height"],
                "width": image["width"],
                "fps": 1.0,
                "start_second": 0.0,
                "annotations": [
                    {
                        "bbox": BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS),
                        "bbox_mode": BoxMode.XYXY_ABS,
                        "actions": [0],
                        "person_id": person_id,
                    }
                    for person_id, box in enumerate(persons)
                ],
            }
        )
    return key_frames


def register_coco_persons(name: str, json_file: str, image_root: str) -> None:
    """Register the persons of one split; nothing has to exist yet.

    Args:
        name: such as "coco_2017_train_persons".
        json_file, image_root: see :func:`load_coco_persons`.
    """
    load = functools.partial(load_coco_persons, json_file, image_root)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        evaluator_type="ava",
        action_names=["person"],
        groundtruth=lambda *, ava_kinetics: (
            _groundtruth(load(), json_file, ava_kinetics),
            {1: "person"},
            set(),
        ),
    )


def _groundtruth(key_frames: list[dict], source: str, ava_kinetics: bool) -> AVATable:
    rows = []
    for image in key_frames:
        scale = (image["width"], image["height"]) * 2
        for annotation in image["annotations"]:
            box = [str(side / size) for side, size in zip(annotation["bbox"], scale)]
            rows.append(",".join((image["video_id"], "0", *box, "1")))
    return parse_ava_csv(rows, source=source, ava_kinetics=ava_kinetics)
