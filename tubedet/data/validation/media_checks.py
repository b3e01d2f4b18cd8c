"""Checks of stored videos against the key frames that are annotated in them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from tubedet.data.clip_sampling import display_limits
from tubedet.data.video.media_paths import missing_media
from tubedet.data.video.reader import VideoError, open_video, read_key_frame
from tubedet.data.video.video_file import VideoFileReader

from .checked_dataset import PixelBoxes, Problem


def check_media(
    records: Iterable[dict], *, every_key_frame: bool = False, jobs: int = 1
) -> list[Problem]:
    """Open every video and decode key frames of it.

    Args:
        records: dataset dicts; needed are ``video_id``, ``video``, ``fps``, ``start_second``,
            ``timestamp`` or ``frame_number``, and, if known, ``height`` and ``width``, and
            ``pixel_boxes``, see :class:`.checked_dataset.CheckedDataset`.
        every_key_frame: decode all key frames instead of the first, middle and last one, and
            compare them with the same frames of sequential decoding.
        jobs: videos at the same time.

    Returns:
        Errors of the kinds "missing-media", "media" (does not decode, or is shorter than
        annotated), "wrong-frame" (a key frame is not the one of sequential decoding), "size" (the
        data set says another one) and "out-of-range" (a box in pixels leaves the frame), and
        warnings of the kinds "media" (frames are damaged and left out) and "slow-media" (decoded
        from its start for every clip), in the order of the paths.
    """
    by_video: dict[str, list[dict]] = {}
    for record in records:
        by_video.setdefault(record["video"], []).append(record)

    def check(path: str) -> list[Problem]:
        return _check_video(path, by_video[path], every_key_frame)

    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(check, sorted(by_video))
        progress = tqdm(results, "media", len(by_video), unit="video", disable=None)
        return [problem for problems in progress for problem in problems]


def _check_video(path: str, records: list[dict], every_key_frame: bool) -> list[Problem]:
    if not os.path.exists(path):
        message = f"{missing_media(path)}; {len(records)} key frames need it"
        return [Problem("error", "missing-media", path, None, message)]
    problems = []
    try:
        with open_video(path, folder_fps=records[0]["fps"]) as reader:
            expected = records[0].get("width"), records[0].get("height")
            if expected not in ((None, None), (reader.width, reader.height)):
                message = (
                    f"frames of {reader.width}x{reader.height} pixels, the data set says "
                    f"{expected[0]}x{expected[1]}"
                )
                problems.append(Problem("error", "size", path, None, message))
            for boxes in dict.fromkeys(r["pixel_boxes"] for r in records if "pixel_boxes" in r):
                problems += _check_boxes(boxes, reader.width, reader.height)
            records = sorted(records, key=_place)
            if not every_key_frame:
                records = [records[0], records[len(records) // 2], records[-1]]
            failures, shown = _read_key_frames(reader, path, records)
            problems += failures
            if isinstance(reader, VideoFileReader):
                damage = reader.damage.message(reader.num_frames)
                if damage is not None:
                    problems.append(Problem("warning", "media", path, None, _without(path, damage)))
                problems += _check_seeking(reader, path)
                if every_key_frame and not failures:
                    problems += _compare_with_sequential(path, shown)
    except VideoError as error:
        problems.append(Problem("error", "media", path, None, _without(path, error)))
    return problems


def _check_boxes(pixel_boxes: PixelBoxes, width: int, height: int) -> list[Problem]:
    far_edges = pixel_boxes.boxes[:, 2:]
    outside = (far_edges > (width + 1, height + 1)).any(axis=1)  # tools differ by a pixel
    return [
        Problem(
            "error",
            "out-of-range",
            pixel_boxes.file,
            int(line),
            f"x2 = {x2:.6g}, y2 = {y2:.6g}, but the frames of the video have {width}x{height} "
            "pixels",
        )
        for line, (x2, y2) in zip(pixel_boxes.lines[outside], far_edges[outside])
    ]


def _place(record: dict) -> float:
    """Where a key frame is: its number, or seconds since the first stored frame."""
    if "frame_number" in record:
        return record["frame_number"]
    return record["timestamp"] - record["start_second"]


def _read_key_frames(
    reader, path: str, records: list[dict]
) -> tuple[list[Problem], list[tuple[dict, int]]]:
    """Read key frames.

    Args:
        reader: the video.
        path: of the video.
        records: in the order of their places.

    Returns:
        one problem for the first of the key frames that cannot be read, which counts the others;
        and the others with the checksum of what was read.
    """
    failures, shown = [], []
    read: dict[float, int] = {}
    for record in records:
        if _place(record) in read:
            continue
        try:
            read[_place(record)] = _checksum(read_key_frame(reader, record))
        except VideoError as error:
            failures.append(_without(path, error))
            read[_place(record)] = 0
        else:
            shown.append((record, read[_place(record)]))
    if not failures:
        return [], shown
    others = f" (and {len(failures) - 1} more of its key frames)" if len(failures) > 1 else ""
    return [Problem("error", "media", path, None, failures[0] + others)], shown


def _check_seeking(reader: VideoFileReader, path: str) -> list[Problem]:
    if reader.seeks:
        return []
    message = (
        "its container does not tell when frames are shown, so every clip is decoded from the "
        "first frame on, which is slow; convert it to mp4"
    )
    return [Problem("warning", "slow-media", path, None, message)]


def _compare_with_sequential(path: str, shown: list[tuple[dict, int]]) -> list[Problem]:
    """Compare key frames with those that decoding of the whole video gives.

    Args:
        path: of the video.
        shown: key frames in the order of their places, with the checksum of what was read.
    """
    wrong = []
    with VideoFileReader(path) as reader:
        limits = [
            place - 0.5
            if "frame_number" in record
            else display_limits([max(place, 0)], tick=1 / reader.fps)[0]
            for record, place in ((record, _place(record)) for record, _ in shown)
        ]
        is_numbered = bool(shown) and "frame_number" in shown[0][0]
        last, done = None, 0
        for index, (time, frame) in enumerate(reader.frames_from(0)):
            while done < len(shown) and (index if is_numbered else time) >= limits[done]:
                wrong += _differs(reader, last, shown[done])
                done += 1
            if done == len(shown):
                break
            last = frame
        for entry in shown[done:]:
            wrong += _differs(reader, last, entry)
    if not wrong:
        return []
    others = f" (and {len(wrong) - 1} more of its key frames)" if len(wrong) > 1 else ""
    message = f"key frame {wrong[0]:g} is not found exactly; convert the video to mp4{others}"
    return [Problem("error", "wrong-frame", path, None, message)]


def _differs(reader: VideoFileReader, frame, entry: tuple[dict, int]) -> list[float]:
    record, checksum = entry
    if frame is not None and _checksum(reader.rgb(frame)) == checksum:
        return []
    return [record.get("frame_number", record["timestamp"])]


def _checksum(image: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(image))


def _without(path: str, error: VideoError | str) -> str:
    return str(error).removeprefix(f"{path}: ")
