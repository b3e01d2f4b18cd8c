"""Checks of stored videos against the key frames that are annotated in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from tubedet.data.clip_sampling import stored_key_time
from tubedet.data.video.media_paths import missing_media
from tubedet.data.video.reader import VideoError, open_video

from .checked_dataset import PixelBoxes, Problem


def check_media(
    records: Iterable[dict], *, every_key_frame: bool = False, jobs: int = 1
) -> list[Problem]:
    """Open every video and decode key frames of it.

    Args:
        records: dataset dicts; needed are ``video_id``, ``video``, ``fps``, ``start_second``,
            ``timestamp`` or ``frame_number``, and, if known, ``height`` and ``width``, and
            ``pixel_boxes``, see :class:`.checked_dataset.CheckedDataset`.
        every_key_frame: decode all key frames instead of the first, middle and last one.
        jobs: videos at the same time.

    Returns:
        Errors of the kinds "missing-media", "media" (does not decode, or is shorter than
        annotated), "size" (the data set says another one) and "out-of-range" (a box in pixels
        leaves the frame), in the order of the paths.
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
            times = sorted(stored_key_time(record, stored_fps=reader.fps) for record in records)
            if not every_key_frame:
                times = sorted({times[0], times[len(times) // 2], times[-1]})
            problems += _check_times(reader, path, times)
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


def _check_times(reader, path: str, times: list[float]) -> list[Problem]:
    """One problem for the first of the key frames that cannot be read, which counts the others."""
    failures = []
    for time in times:
        try:
            reader.read([time])
        except VideoError as error:
            failures.append(_without(path, error))
    if not failures:
        return []
    others = f" (and {len(failures) - 1} more of its key frames)" if len(failures) > 1 else ""
    return [Problem("error", "media", path, None, failures[0] + others)]


def _without(path: str, error: VideoError) -> str:
    return str(error).removeprefix(f"{path}: ")
