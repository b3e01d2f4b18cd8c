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
    ava_toy/, ava_toy_long/                                           the same layout
    jhmdb/JHMDB-GT.pkl
          Frames/<class>/<video>/00001.png ...                        either frames
          videos/<class>/<video>.avi                                  or video files
    ucf101_24/pyannot.pkl                                             the corrected annotation
              testlist01.txt                                          with its list,
              UCF101v2-GT.pkl                                         or the one of ACT
              Frames/<class>/<video>/00001.jpg ...                    either frames
              videos/<class>/<video>.avi                              or video files
    coco/annotations/instances_{train,val}2017.json                   persons, for pre-training
    coco/{train2017,val2017}/000000000001.jpg ...

The label maps of AVA are the same in both versions and come with the package.
"""

from __future__ import annotations

import functools
import os

from tubedet.data.annotations.tube_files import (
    AnnotatedVideo,
    read_act_groundtruth,
    read_corrected_ucf101,
)

from .action_tubes import register_action_tubes
from .ava import AVAFiles, register_ava
from .coco_persons import register_coco_persons

# Folder of the label maps that come with the package.
LABEL_MAPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "label_maps")
_EVALUATED_ACTIONS = "ava_action_list_v2.1_for_activitynet_2018.pbtxt"
_ALL_ACTIONS = "ava_action_list_v2.1.pbtxt"

_HOW_TO_GET_AVA = (
    "Data sets are looked for in $DETECTRON2_DATASETS ({root}). Download the annotations "
    "ava_{version}.zip from https://research.google.com/ava/download.html, unpack them into "
    "{folder}, and prepare the videos with datasets/prepare_ava.py."
)
_HOW_TO_GET_TOY = (
    "Data sets are looked for in $DETECTRON2_DATASETS ({root}). Make the toy data set with: "
    'python datasets/make_toy_ava.py --output "{folder}"'
)
_HOW_TO_GET_LONG_TOY = _HOW_TO_GET_TOY.replace(".py ", ".py --long-term ")
_HOW_TO_GET_JHMDB = (
    "{path} does not exist. Data sets are looked for in $DETECTRON2_DATASETS ({root}); the section "
    "JHMDB-21 of docs/datasets.md says where to get this one."
)
_HOW_TO_GET_UCF101_24 = (
    "Neither {path} (with testlist01.txt) nor {act} exists. Data sets are looked for in "
    "$DETECTRON2_DATASETS ({root}); the section UCF101-24 of docs/datasets.md says where to get "
    "this one."
)

JHMDB_ACTIONS = (
    *("brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball", "pick", "pour"),
    *("pullup", "push", "run", "shoot_ball", "shoot_bow", "shoot_gun", "sit", "stand"),
    *("swing_baseball", "throw", "walk", "wave"),
)
UCF101_24_ACTIONS = (
    *("Basketball", "BasketballDunk", "Biking", "CliffDiving", "CricketBowling", "Diving"),
    *("Fencing", "FloorGymnastics", "GolfSwing", "HorseRiding", "IceDancing", "LongJump"),
    *("PoleVault", "RopeClimbing", "SalsaSpin", "SkateBoarding", "Skiing", "Skijet"),
    *("SoccerJuggling", "Surfing", "TennisSwing", "TrampolineJumping", "VolleyballSpiking"),
    "WalkingWithDog",
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
        return own if os.path.isfile(own) else os.path.join(LABEL_MAPS, file_name)

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
    """Register ``ava_v2.1_*``, ``ava_v2.2_*``, ``ava_toy_*`` and ``ava_toy_long_*``.

    Each has ``train`` and ``val``. Nothing has to exist yet: a missing file is an error when the
    data set is used.

    Args:
        datasets_root: value of ``$DETECTRON2_DATASETS``.
    """
    for prefix, folder, version, how_to_get in (
        ("ava_v2.1", "ava", "v2.1", _HOW_TO_GET_AVA),
        ("ava_v2.2", "ava", "v2.2", _HOW_TO_GET_AVA),
        ("ava_toy", "ava_toy", "v2.1", _HOW_TO_GET_TOY),
        ("ava_toy_long", "ava_toy_long", "v2.1", _HOW_TO_GET_LONG_TOY),
    ):
        root = os.path.join(datasets_root, folder)
        for split in ("train", "val"):
            hint = how_to_get.format(
                root=datasets_root,
                version=version,
                folder=root if prefix.startswith("ava_toy") else os.path.join(root, "annotations"),
            )
            files = ava_files(root, split=split, version=version, how_to_get=hint)
            register_ava(f"{prefix}_{split}", files)


def register_all_action_tubes(datasets_root: str) -> None:
    """Register ``jhmdb_split{1,2,3}_*`` and ``ucf101_24_*``, each with ``train`` and ``test``.

    Nothing has to exist yet: a missing file is an error when the data set is used. UCF101-24 is its
    only split, 1.

    Args:
        datasets_root: value of ``$DETECTRON2_DATASETS``.
    """
    jhmdb, ucf = (os.path.join(datasets_root, folder) for folder in ("jhmdb", "ucf101_24"))
    for subset in ("train", "test"):
        for split in (1, 2, 3):
            load = functools.partial(load_jhmdb, jhmdb, split=split, subset=subset)
            _register_tubes(f"jhmdb_split{split}_{subset}", load, jhmdb, JHMDB_ACTIONS, fps=30.0)
        load = functools.partial(load_ucf101_24, ucf, subset=subset)
        _register_tubes(f"ucf101_24_{subset}", load, ucf, UCF101_24_ACTIONS, fps=25.0)


def register_all_coco_persons(datasets_root: str) -> None:
    """Register ``coco_2017_train_persons`` and ``coco_2017_val_persons``.

    Args:
        datasets_root: value of ``$DETECTRON2_DATASETS``.
    """
    root = os.path.join(datasets_root, "coco")
    for split in ("train", "val"):
        register_coco_persons(
            f"coco_2017_{split}_persons",
            os.path.join(root, "annotations", f"instances_{split}2017.json"),
            os.path.join(root, f"{split}2017"),
        )


def load_jhmdb(root: str, *, split: int, subset: str) -> dict[str, AnnotatedVideo]:
    """Read the annotation of one split of JHMDB-21.

    Args:
        root: folder with ``JHMDB-GT.pkl``.
        split: 1, 2 or 3.
        subset: "train" or "test".

    Raises:
        FileNotFoundError: if the file is missing; the message says how to get it.
        AnnotationError: if it breaks its format.
    """
    path = os.path.join(root, "JHMDB-GT.pkl")
    if not os.path.isfile(path):
        raise FileNotFoundError(_HOW_TO_GET_JHMDB.format(path=path, root=os.path.dirname(root)))
    return read_act_groundtruth(path, action_names=JHMDB_ACTIONS, split=split, subset=subset)


def load_ucf101_24(root: str, *, subset: str) -> dict[str, AnnotatedVideo]:
    """Read the annotation of split 1 of UCF101-24, the corrected one if it is there.

    Args:
        root: folder with ``pyannot.pkl`` and ``testlist01.txt``, or ``UCF101v2-GT.pkl``.
        subset: "train" or "test".

    Raises:
        FileNotFoundError: if a file is missing; the message says how to get it.
        AnnotationError: if one breaks its format.
    """
    corrected, test_list, act = (
        os.path.join(root, name) for name in ("pyannot.pkl", "testlist01.txt", "UCF101v2-GT.pkl")
    )
    if os.path.isfile(corrected) and os.path.isfile(test_list):
        return read_corrected_ucf101(
            corrected, action_names=UCF101_24_ACTIONS, test_list=test_list, subset=subset
        )
    if not os.path.isfile(act):
        folder = os.path.dirname(root)
        raise FileNotFoundError(_HOW_TO_GET_UCF101_24.format(path=corrected, act=act, root=folder))
    return read_act_groundtruth(act, action_names=UCF101_24_ACTIONS, split=1, subset=subset)


def _register_tubes(name, load_videos, root, action_names, *, fps):
    register_action_tubes(
        name,
        load_videos,
        action_names=action_names,
        frames_dir=os.path.join(root, "Frames"),
        videos_dir=os.path.join(root, "videos"),
        fps=fps,
        exclusive_actions=True,
    )


_DATASETS_ROOT = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
register_all_ava(_DATASETS_ROOT)
register_all_action_tubes(_DATASETS_ROOT)
register_all_coco_persons(_DATASETS_ROOT)
