"""Read pickles of action tubes: the format of ACT, and the corrected annotation of UCF101-24."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from tubedet.data.annotations.stated_frames import check_frames_of_video, check_stated_frames
from tubedet.data.annotations.text import AnnotationError
from tubedet.data.annotations.tube_files import (
    ActionTube,
    ActPickle,
    AnnotatedVideo,
    CorrectedUCF101,
    open_tube_pickle,
)

from .labels import (
    ImportFormat,
    ImportOptions,
    Labels,
    PersonBox,
    is_box,
    is_video_name,
)

_SUBSETS = ("train", "test")


def read_act_pickle(path: Path, options: ImportOptions) -> Labels:
    """Read the tubes of all videos, or of a subset.

    Every frame of a video has been looked at: evaluations of these data sets count whatever is
    found in a frame without a tube as wrong. Each tube is a person of its own, but those whose
    boxes are the same wherever both have one are one person with several actions.

    Args:
        path: the pickle; nothing in it is executed.
        options: ``subset`` and ``split``.

    Returns:
        Boxes in pixels by numbers of frames.

    Raises:
        AnnotationError: if the file breaks its format; the message names video and key.
        OSError: if the file cannot be read.
    """
    pickle = open_tube_pickle(path)
    if isinstance(pickle, ActPickle):
        names, videos = _act_videos(pickle, path, options)
    else:
        names, videos = _corrected_videos(pickle, path, options)
    labels, num_frames = Labels(class_names=names), 0
    for video_id, video in videos:
        if not is_video_name(video_id):
            raise AnnotationError(f"{path}: {video_id[:80]!r} is no name of a video")
        check_frames_of_video(video_id, video.num_frames, path)
        num_frames += max(0, video.num_frames)
        check_stated_frames(num_frames, path)
        labels.looked_at |= {(video_id, number) for number in range(1, video.num_frames + 1)}
        if video.size is not None:
            height, width = video.size
            labels.sizes[video_id] = width, height
        persons = _persons(video.tubes)
        shared = len(video.tubes) - len(set(persons))
        if shared:
            labels.remarks["tubes with the boxes of another one: the same person"] += shared
        for tube, person in zip(video.tubes, persons):
            _add_tube(labels, video_id, tube, names[tube.label], person)
    return labels


ACT_PICKLE = ImportFormat(
    name="act-pickle",
    summary="pickles of action tubes: JHMDB-GT.pkl, UCF101v2-GT.pkl, multisports_GT.pkl and others "
    "of this form (of ACT), of one --subset and --split or of all videos; and pyannot.pkl of "
    "UCF101-24",
    read=read_act_pickle,
    sign=lambda path, head: (
        f"the ending {path.suffix}" if path.suffix.lower() in (".pkl", ".pickle") else ""
    ),
    options=frozenset({"subset", "split"}),
)


def _act_videos(
    pickle: ActPickle, path: Path, options: ImportOptions
) -> tuple[list[str], Iterator[tuple[str, AnnotatedVideo]]]:
    names = pickle.labels
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise AnnotationError(f"{path}: 'labels' need different names")
    video_ids: dict[str, None] = {}  # a set that keeps the order
    for subset in _SUBSETS if options.subset is None else (options.subset,):
        count = pickle.num_splits(subset)
        if options.split is not None:
            splits = [options.split]
        elif options.subset is None or count == 1:
            splits = list(range(1, count + 1))
        else:
            raise AnnotationError(
                f"{path}: the videos are split in {count} ways: say which one is meant, --split N"
            )
        for split in splits:
            video_ids |= dict.fromkeys(pickle.video_ids(subset, split))
    return names, ((video_id, pickle.video(video_id)) for video_id in video_ids)


def _corrected_videos(
    pickle: CorrectedUCF101, path: Path, options: ImportOptions
) -> tuple[list[str], Iterator[tuple[str, AnnotatedVideo]]]:
    """Name the labels, which are numbers here, by the folders of the videos."""
    for option in ("subset", "split"):
        if getattr(options, option) is not None:
            raise AnnotationError(f"{path}: this file has no subsets: leave out --{option}")
    folders = sorted({PurePosixPath(video_id).parent.name for video_id in pickle.video_ids})
    videos = [(v, pickle.video(v, num_labels=len(folders))) for v in pickle.video_ids]
    for video_id, video in videos:
        for tube in video.tubes:
            if folders[tube.label] != PurePosixPath(video_id).parent.name:
                raise AnnotationError(
                    f"{path}[{video_id!r}] has the label {tube.label}, which is "
                    f"{folders[tube.label]!r} among the folders of the videos in alphabetical order"
                )
    return folders, iter(videos)


def _persons(tubes: list[ActionTube]) -> list[int]:
    """Return a number for each tube; those with equal boxes in their common frames share one."""
    persons = list(range(len(tubes)))
    for later, tube in enumerate(tubes):
        for earlier, other in enumerate(tubes[:later]):
            if other.label == tube.label:
                continue
            _, left, right = np.intersect1d(other.frames, tube.frames, return_indices=True)
            if len(left) and (other.boxes[left] == tube.boxes[right]).all():
                persons[later] = persons[earlier]
                break
    return persons


def _add_tube(labels: Labels, video_id: str, tube: ActionTube, action: str, person: int) -> None:
    for number, corners in zip(tube.frames.tolist(), tube.boxes.tolist()):
        box = tuple(corners)
        if is_box(box):
            labels.boxes.append(PersonBox(video_id, number, box, (action,), person))
        else:
            labels.unclear.add((video_id, number))
            labels.remarks["boxes without an area: left out, with their frames"] += 1
