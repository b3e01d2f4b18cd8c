"""The key frames of data sets, which are the same in all processes of a run."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts

from tubedet.agreement import agreed_errors, check_same_value
from tubedet.data.datasets.custom import check_actions
from tubedet.errors import UserError

from .proposal_files import check_proposal_files, with_proposal_file


def read_key_frames(cfg: CfgNode, names: Iterable[str], *, is_train: bool) -> list[dict]:
    """Read data sets, all processes of a run together.

    Processes share the key frames by their places in the list, so the lists must be the same.

    Args:
        cfg: ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` says whether key frames without persons are
            left out of a training. With ``MODEL.LOAD_PROPOSALS`` they get person boxes, see
            :func:`.with_proposal_file`.
        names: of the data sets.
        is_train: whether they are for a training.

    Returns:
        dataset dicts.

    Raises:
        UserError: if the model cannot learn or predict the actions of a data set, a data set has no
            key frame, or processes find different ones.
        OSError: if an annotation file cannot be read.
    """
    names = list(names)
    with agreed_errors():
        for name in names:
            check_actions(cfg, name)
        check_proposal_files(cfg, is_train=is_train)
        filter_empty = is_train and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        try:
            if cfg.MODEL.LOAD_PROPOSALS:
                key_frames = []
                for name in names:
                    records = get_detection_dataset_dicts([name], filter_empty=filter_empty)
                    key_frames += with_proposal_file(cfg, records, name, is_train=is_train)
            else:
                key_frames = get_detection_dataset_dicts(names, filter_empty=filter_empty)
        except AssertionError as error:  # detectron2's, about lists without a key frame
            boxes = " with a usable box" if filter_empty else ""
            raise UserError(f"{', '.join(names)}: no key frame{boxes} ({error})") from error
    checksum = 0
    for key_frame in key_frames:
        name = f"{key_frame['video_id']},{key_frame['timestamp']};"
        checksum = zlib.crc32(name.encode(), checksum)
    check_same_value(
        f"{len(key_frames)} key frames, checksum {checksum:08x}",
        what=f"the processes find different key frames in {', '.join(names)}",
        advice="all machines need the same annotation files",
    )
    return key_frames


def evenly_sampled(key_frames: Sequence[dict], number: int) -> list[dict]:
    """Return the middle key frame of each of ``number`` equal stretches of a list.

    Args:
        key_frames: in the order of the data set, so video by video.
        number: of key frames; all if there are fewer.
    """
    total = len(key_frames)
    if number >= total:
        return list(key_frames)
    return [key_frames[(2 * n + 1) * total // (2 * number)] for n in range(number)]
