"""The data sets that can be named in configs without further ado.

They live under ``$DETECTRON2_DATASETS`` (default: ``./datasets``), in this layout::

    ava/annotations/ava_{train,val}_{v2.1,v2.2}.csv
                    ava_{train,val}_excluded_timestamps_{v2.1,v2.2}.csv
                    ava_action_list_v2.1_for_activitynet_2018.pbtxt   (optional, 60 evaluated)
                    ava_action_list_v2.1.pbtxt                        (optional, all 80)
                    ava_included_timestamps_{v2.1,v2.2}.txt           (optional)
                    ava_file_names_{train,val}_v2.1.txt               (optional)
                    video_info.csv                                    (optional)
    ava/frames/<video id>/<video id>_000001.jpg ...                   either frames at 30 fps
    ava/videos/<video id>.{mp4,mkv,webm,avi}                          or video files
    ava_toy/                                                          the same layout

The label maps are the same in both versions and come with the package.
"""

from __future__ import annotations

import os

from .ava import AVAFiles, register_ava

_LABEL_MAPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "label_maps")
_EVALUATED_ACTIONS = "ava_action_list_v2.1_for_activitynet_2018.pbtxt"
_ALL_ACTIONS = "ava_action_list_v2.1.pbtxt"

_HOW_TO_GET_AVA = (
    "Data sets are looked for in $DETECTRON2_DATASETS ({root}). Download the annotations "
    "ava_{version}.zip from https://research.google.com/ava/download.html and unpack them into "
    "{folder}."
)
_HOW_TO_GET_TOY = (
    "Data sets are looked for in $DETECTRON2_DATASETS ({root}). Make the toy data set with: "
    'python datasets/make_toy_ava.py --output "{folder}"'
)


def ava_files(root: str, *, split: str, version: str, how_to_get: str = "") -> AVAFiles:
    """Paths of one split in the standard layout.

    Args:
        root: folder with ``annotations`` and ``frames`` or ``videos``.
        split: "train" or "val".
        version: "v2.1" or "v2.2".
        how_to_get: what to do when a file is missing.

    Returns:
        The paths; label maps which are not in ``root`` are those of the package.
    """
    annotations = os.path.join(root, "annotations")

    def label_map(file_name: str) -> str:
        own = os.path.join(annotations, file_name)
        return own if os.path.isfile(own) else os.path.join(_LABEL_MAPS, file_name)

    return AVAFiles(
        groundtruth_csv=os.path.join(annotations, f"ava_{split}_{version}.csv"),
        action_list=label_map(_ALL_ACTIONS),
        label_map=label_map(_EVALUATED_ACTIONS),
        exclusions_csv=os.path.join(annotations, f"ava_{split}_excluded_timestamps_{version}.csv"),
        included_timestamps=os.path.join(annotations, f"ava_included_timestamps_{version}.txt"),
        file_names=os.path.join(annotations, f"ava_file_names_{split}_v2.1.txt"),
        video_info_csv=os.path.join(annotations, "video_info.csv"),
        frames_dir=os.path.join(root, "frames"),
        videos_dir=os.path.join(root, "videos"),
        how_to_get=how_to_get,
    )


def register_all_ava(datasets_root: str) -> None:
    """Registers ``ava_v2.1_*``, ``ava_v2.2_*`` and ``ava_toy_*``, each with ``train`` and ``val``.

    Nothing has to exist yet: a missing file is an error when the data set is used.

    Args:
        datasets_root: value of ``$DETECTRON2_DATASETS``.
    """
    for prefix, folder, version, how_to_get in (
        ("ava_v2.1", "ava", "v2.1", _HOW_TO_GET_AVA),
        ("ava_v2.2", "ava", "v2.2", _HOW_TO_GET_AVA),
        ("ava_toy", "ava_toy", "v2.1", _HOW_TO_GET_TOY),
    ):
        root = os.path.join(datasets_root, folder)
        for split in ("train", "val"):
            hint = how_to_get.format(
                root=datasets_root,
                version=version,
                folder=root if prefix == "ava_toy" else os.path.join(root, "annotations"),
            )
            files = ava_files(root, split=split, version=version, how_to_get=hint)
            register_ava(f"{prefix}_{split}", files)


register_all_ava(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
