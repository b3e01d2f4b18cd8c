"""Readers of the pickled tube annotations of JHMDB-21 and UCF101-24."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from tubedet.files.pickle_names import brief
from tubedet.files.restricted_pickle import PickleFileError, load_restricted_pickle

from .stated_frames import check_frames_of_video, check_stated_frames
from .text import AnnotationError, open_text

# The largest file of the field, UCF101-24 in the format of ACT, has a few dozen megabytes.
_MAX_PICKLE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class ActionTube:
    """One action of one person: a box in each of some frames of a video.

    Attributes:
        label: 0-based action.
        frames: (n,) int64, ascending numbers of stored frames, from 1.
        boxes: (n, 4) float32, XYXY in pixels of the stored video, as annotated.
        person_id: tubes of the same person in a video have the same one.
    """

    label: int
    frames: np.ndarray
    boxes: np.ndarray
    person_id: int = -1

    def boxes_at(self, frame_numbers: np.ndarray) -> np.ndarray:
        """Boxes in the given frames.

        Args:
            frame_numbers: (T,) int, from 1, in any order.

        Returns:
            float64 array (T, 4), NaN in the frames without a box.
        """
        rows = np.searchsorted(self.frames, frame_numbers).clip(max=len(self.frames) - 1)
        boxes = self.boxes[rows].astype(np.float64)
        boxes[self.frames[rows] != frame_numbers] = np.nan
        return boxes


@dataclass(frozen=True)
class AnnotatedVideo:
    """The annotation of one video.

    Attributes:
        tubes: in the order of the file.
        num_frames: number of the last frame.
        key_frames: numbers of the annotated frames; None means every frame.
        size: (height, width) in pixels, or None if the annotation does not tell.
    """

    tubes: list[ActionTube]
    num_frames: int
    key_frames: Sequence[int] | None = None
    size: tuple[int, int] | None = None


class ActPickle:
    """A file in the format of ACT (Kalogeiton et al. 2017), opened; nothing in it is executed.

    These are ``JHMDB-GT.pkl``, ``UCF101v2-GT.pkl``, ``multisports_GT.pkl``, and others with actions
    of their own. A row of a tube is ``frame, x1, y1, x2, y2``: the frame counts from 1, as the
    names of the stored files do, the box is in pixels.

    Args:
        content: what the file holds.

    Raises:
        AnnotationError: there is no list of actions.
    """

    def __init__(self, content: _Checked):
        self._data = content
        self.labels: list[str] = [name.value for name in content.get("labels", list).items(str)]

    def num_splits(self, subset: str) -> int:
        """Return how often the videos are split.

        Args:
            subset: "train" or "test".

        Raises:
            AnnotationError: the file has no list of splits.
        """
        return len(self._data.get(f"{subset}_videos", list).value)

    def video_ids(self, subset: str, split: int) -> list[str]:
        """Return the videos of a split.

        Args:
            subset: "train" or "test".
            split: which of the splits, from 1.

        Raises:
            AnnotationError: there is no such split; the message names the key.
        """
        splits = self._data.get(f"{subset}_videos", list).items(list)
        if split > len(splits):
            raise self._data.error(f"has {len(splits)} splits, there is no split {split}")
        return [entry.value for entry in splits[split - 1].items(str)]

    def video(self, video_id: str) -> AnnotatedVideo:
        """Return the annotation of a video.

        Args:
            video_id: one of :meth:`video_ids`.

        Raises:
            AnnotationError: something there breaks the format; the message names video and key.
        """
        num_frames = self._data.get("nframes", dict).get(video_id, int).value
        size = self._data.get("resolution", dict).get(video_id, tuple)
        if len(size.value) != 2 or not all(isinstance(v, int) and v > 0 for v in size.value):
            raise size.error("is no (height, width)")
        by_label = self._data.get("gttubes", dict).get(video_id, dict)
        tubes: list[ActionTube] = []
        for label in by_label.value:
            if not isinstance(label, int) or not 0 <= label < len(self.labels):
                raise by_label.error(f"has the label {brief(label)}, there are {len(self.labels)}")
            for rows in by_label.get(label, list).items(np.ndarray):
                table = rows.table(5)
                frames = table[:, 0].astype(np.int64)
                if (frames != table[:, 0]).any():
                    raise rows.error("has frame numbers that are not whole")
                tubes.append(
                    _checked_tube(rows, label, frames, table[:, 1:], num_frames, len(tubes))
                )
        return AnnotatedVideo(tubes, num_frames, size=size.value)


class CorrectedUCF101:
    """``pyannot.pkl``, the corrected annotation of UCF101-24 by Gurkirt Singh, opened.

    (https://github.com/gurkirt/corrected-UCF101-Annots.) Its tubes have 0-based first and one-past
    last frames ``sf`` and ``ef`` and boxes x, y, width, height in 8 or 16 bits.

    Args:
        content: what the file holds.

    Raises:
        AnnotationError: it holds something else than videos.
    """

    def __init__(self, content: _Checked):
        self._data = content
        self.video_ids: list[str] = sorted(content.keys(str))

    def video(self, video_id: str, *, num_labels: int) -> AnnotatedVideo:
        """Return the annotation of a video.

        Args:
            video_id: one of ``video_ids``.
            num_labels: A, how many actions there are.

        Raises:
            AnnotationError: something there breaks the format; the message names video and key.
        """
        video = self._data.get(video_id, dict)
        num_frames = video.get("numf", int).value
        tubes: list[ActionTube] = []
        for entry in video.get("annotations", list).items(dict):
            label, start, end = (entry.get(key, int).value for key in ("label", "sf", "ef"))
            rows = entry.get("boxes", np.ndarray)
            corners = rows.table(4)
            if not 0 <= label < num_labels:
                raise entry.error(f"has the label {brief(label)}, there are {num_labels}")
            if end - start != len(corners):
                raise entry.error(
                    f"has {len(corners)} boxes for the frames from {brief(start)} "
                    f"to before {brief(end)}"
                )
            boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
            frames = np.arange(start + 1, end + 1)
            tubes.append(_checked_tube(rows, label, frames, boxes, num_frames, len(tubes)))
        return AnnotatedVideo(tubes, num_frames)


def open_tube_pickle(path: str | PathLike) -> ActPickle | CorrectedUCF101:
    """Open a pickle of one of the two forms.

    Args:
        path: the pickle; nothing in it is executed.

    Raises:
        AnnotationError: the file is neither.
        OSError: the file cannot be read.
    """
    content = _load_pickle(path)
    return ActPickle(content) if "gttubes" in content.value else CorrectedUCF101(content)


def read_act_groundtruth(
    path: str | PathLike, *, action_names: Sequence[str], split: int, subset: str
) -> dict[str, AnnotatedVideo]:
    """Read a part of ``JHMDB-GT.pkl`` or ``UCF101v2-GT.pkl``, see :class:`ActPickle`.

    Args:
        path: the pickle; nothing in it is executed.
        action_names: the names that its labels must have.
        split: which of the file's splits, from 1.
        subset: "train" or "test".

    Returns:
        The videos of the subset in the order of its list.

    Raises:
        AnnotationError: the file breaks its format; the message names video and key.
        OSError: the file cannot be read.
    """
    pickle = ActPickle(_load_pickle(path))
    if pickle.labels != list(action_names):
        raise AnnotationError(
            f"{path}: 'labels' are {brief(pickle.labels)}, expected {list(action_names)}"
        )
    names = pickle.video_ids(subset, split)
    return _checked_videos(((name, pickle.video(name)) for name in names), path)


def read_corrected_ucf101(
    path: str | PathLike, *, action_names: Sequence[str], test_list: str | PathLike, subset: str
) -> dict[str, AnnotatedVideo]:
    """Read a part of ``pyannot.pkl``, see :class:`CorrectedUCF101`.

    Args:
        path: the pickle; nothing in it is executed.
        action_names: A names; labels are positions among them.
        test_list: text file with the video ids of the test split, one per line, with or without a
            file ending; all other videos are for training.
        subset: "train" or "test".

    Returns:
        The videos of the subset in alphabetical order.

    Raises:
        AnnotationError: a file breaks its format; the message names video and key, or line.
        OSError: a file cannot be read.
    """
    pickle = CorrectedUCF101(_load_pickle(path))
    test_videos = _read_test_list(test_list, known=pickle.video_ids, source=path)
    names = [name for name in pickle.video_ids if (name in test_videos) == (subset == "test")]
    num_labels = len(action_names)
    videos = ((name, pickle.video(name, num_labels=num_labels)) for name in names)
    return _checked_videos(videos, path)


def _checked_videos(
    videos: Iterable[tuple[str, AnnotatedVideo]], path: str | PathLike
) -> dict[str, AnnotatedVideo]:
    """Collect videos by name; each of their frames becomes an element of the data set."""
    found: dict[str, AnnotatedVideo] = {}
    num_frames = 0
    for video_id, video in videos:
        check_frames_of_video(video_id, video.num_frames, path)
        num_frames += max(0, video.num_frames)
        check_stated_frames(num_frames, path)
        found[video_id] = video
    return found


def _load_pickle(path: str | PathLike) -> _Checked:
    try:
        content = load_restricted_pickle(path, max_bytes=_MAX_PICKLE_BYTES)
    except PickleFileError as error:
        raise AnnotationError(str(error)) from error
    return _Checked(content, str(path), dict)


def _read_test_list(
    path: str | PathLike, *, known: Collection[str], source: str | PathLike
) -> set[str]:
    with open_text(path) as stream:
        video_ids = {line.strip().removesuffix(".avi").removesuffix(".mp4") for line in stream}
    # The list of all 101 classes is fine, too.
    if video_ids.isdisjoint(known):
        raise AnnotationError(f"{path}: none of its {len(video_ids)} lines is a video of {source}")
    return video_ids


def _checked_tube(
    rows: _Checked,
    label: int,
    frames: np.ndarray,
    boxes: np.ndarray,
    num_frames: int,
    person_id: int,
) -> ActionTube:
    if len(frames) == 0 or frames[0] < 1 or frames[-1] > num_frames or (np.diff(frames) < 1).any():
        raise rows.error(f"has frames that do not ascend from 1 to at most {brief(num_frames)}")
    if (boxes[:, :2] > boxes[:, 2:]).any():
        raise rows.error("has a box whose right or lower edge comes before the other")
    return ActionTube(label, frames, boxes.astype(np.float32), person_id)


class _Checked:
    """A value of a pickle together with its place in it, for messages."""

    def __init__(self, value: Any, place: str, expected: type):
        self.value = value
        self._place = place
        # In Python a truth value is a whole number, too.
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise self.error(f"is a {type(value).__name__}, expected {expected.__name__}")

    def error(self, problem: str) -> AnnotationError:
        return AnnotationError(f"{self._place} {problem}")

    def keys(self, expected: type) -> list:
        return [
            _Checked(key, f"{self._place}: key {brief(key)}", expected).value for key in self.value
        ]

    def get(self, key: object, expected: type) -> _Checked:
        if key not in self.value:
            raise self.error(f"has no key {brief(key)}")
        return _Checked(self.value[key], f"{self._place}[{brief(key)}]", expected)

    def items(self, expected: type) -> list[_Checked]:
        pairs = zip(itertools.count(), self.value)
        return [_Checked(item, f"{self._place}[{i}]", expected) for i, item in pairs]

    def table(self, columns: int) -> np.ndarray:
        """Return finite float64 (n, columns); unsigned bytes would overflow in sums."""
        array = np.asarray(self.value)
        if array.ndim != 2 or array.shape[1] != columns or array.dtype.kind not in "iuf":
            raise self.error(
                f"is a {array.dtype} array of shape {array.shape}, expected (n, {columns}) numbers"
            )
        table = array.astype(np.float64)
        if not np.isfinite(table).all():
            raise self.error("has numbers that are not finite")
        return table
