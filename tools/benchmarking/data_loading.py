"""Clips per second and memory of the loader, beside those of the naive way in the same run."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image
from tabulate import tabulate

from tubedet.data.augmentation import build_clip_augmentations
from tubedet.data.clip_sampling import clip_times, frame_indices
from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.loading import build_test_loader
from tubedet.data.video.pyav_versions import open_for_reading, to_rgb

from .measurement import process_memory, summary
from .media import Film, write_film

DESCRIPTION = "Reading clips: tubedet's loader and the naive way, from jpg folders and mp4 files."
# More than a loader keeps open, so that nearly every clip opens its video, as in training on AVA.
_NUM_VIDEOS = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement to the command line."""
    parser.add_argument(
        "--sizes", nargs="+", type=_size, default=[(640, 360), (1280, 720)], metavar="WxH"
    )
    parser.add_argument("--source", type=Path, help="a video to make the films of (default: drawn)")
    parser.add_argument("--seconds", type=_positive, default=10, help="length of the films")
    parser.add_argument("--gop", type=_positive, default=60, help="frames between H.264 key frames")
    parser.add_argument(
        "--as-prepared", action="store_true", help="encode the films as prepare_ava.py videos does"
    )
    parser.add_argument(
        "--augment",
        choices=("none", "worker", "device"),
        default="none",
        help="tubedet's clips: resized; augmented as in training; or read for that on a GPU",
    )
    parser.add_argument("--clips", type=_positive, default=12, help="clips per repetition")
    parser.add_argument("--frames", type=_positive, default=32, help="frames of a clip")
    parser.add_argument("--stride", type=_positive, default=2, help="their distance, frames")
    parser.add_argument("--short-side", type=_positive, default=256, help="of a clip, pixels")
    parser.add_argument("--workers", type=_positive, default=1, help="loader processes")


def run(options: argparse.Namespace) -> dict:
    """Measures.

    Args:
        options: Those of :func:`add_arguments`, ``repeats`` and ``seed``.

    Returns:
        dict: ``cases``, a list with one entry per size and storage form: ``film``, ``storage``,
        ``ratio`` of the median clips per second, and for ``tubedet`` and ``naive`` each
        ``clips_per_second`` and ``clips_per_cpu_second``, which counts the time that all
        processes work (see :func:`benchmarking.measurement.summary`),
        ``private_mb_per_worker`` and ``peak_rss_mb_per_worker`` (largest worker of all
        repetitions; None where the system does not tell).

    Raises:
        VideoError: ``--source`` cannot be read.
        ValueError: A size is odd.
    """
    is_train = options.augment != "none"
    # Training resizes to 288 and crops 256.
    largest_side = options.short_side * 9 // 8 if is_train else options.short_side
    augmentations = build_clip_augmentations(
        is_train=is_train,
        short_sides=(largest_side,),
        max_size=1 << 20,
        crop_short_side=options.short_side,
        flip="horizontal",
        hsv_jitter=(10, 26, 26),
    )
    clip = {"num_frames": options.frames, "frame_stride": options.stride, "fps": 30.0}
    mappers = {
        "tubedet": ClipDatasetMapper(
            is_train,
            augmentations=augmentations,
            num_actions=1,
            min_decoded_side=largest_side,
            augment_on_device=options.augment == "device",
            **clip,
        ),
        "naive": NaiveMapper(short_side=options.short_side, **clip),
    }
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for width, height in options.sizes:
            film = write_film(
                Path(folder),
                width=width,
                height=height,
                num_frames=options.seconds * 30,
                gop=options.gop,
                source=options.source,
                seed=options.seed,
                as_prepared=options.as_prepared,
            )
            for storage, path in (("jpg folder", film.frames), ("mp4", film.video)):
                records = _records(path, film, options.clips, options.seed)
                runs = {name: [] for name in mappers}
                for _ in range(options.repeats):
                    for name, mapper in mappers.items():  # in turns: both see the same disturbances
                        runs[name].append(_timed_pass(mapper, records, options.workers))
                cases.append(_case(film, storage, runs))
    return {"cases": cases}


def table(result: dict) -> str:
    """Lay the result of :func:`run` out as text."""
    rows = []
    for case in result["cases"]:
        row = [case["film"], case["storage"]]
        for name in ("tubedet", "naive"):
            speed = case[name]["clips_per_second"]
            memory = case[name]["private_mb_per_worker"]
            row.append(f"{speed['median']:.2f} ({speed['min']:.2f}-{speed['max']:.2f})")
            row.append(f"{case[name]['clips_per_cpu_second']['median']:.2f}")
            row.append("" if memory is None else f"{memory:.0f}")
        rows.append([*row, f"{case['ratio']:.2f}"])
    headers = ["film", "storage"]
    for name in ("tubedet", "naive"):
        headers += [f"{name}: clips/s, median (spread)", "per CPU second", "MB per worker"]
    return tabulate(rows, [*headers, "ratio"], tablefmt="pipe", disable_numparse=True)


class NaiveMapper:
    """Reads a clip as a first draft of a loader does.

    The video is opened for every clip. A folder is listed and its pictures are decoded in full by
    Pillow; a file is decoded from its first frame to the last wanted one. Each wanted frame is then
    resized by Pillow. The result is that of ``ClipDatasetMapper`` but for rounding.

    Args:
        short_side: Of the clip, pixels.
        num_frames, frame_stride, fps: Which frames; see ``clip_times``.
    """

    def __init__(self, *, short_side: int, num_frames: int, frame_stride: float, fps: float):
        self.short_side = short_side
        self._clip = {"num_frames": num_frames, "frame_stride": frame_stride, "fps": fps}

    def __call__(self, record: dict) -> dict:
        """Read one clip; return ``clip``, uint8 (3, T, H, W)."""
        times = clip_times(record["timestamp"], **self._clip)
        read = self._folder if os.path.isdir(record["video"]) else self._file
        frames = read(record["video"], times, record["fps"], record["num_frames"])
        return {"clip": torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).contiguous()}

    def _folder(self, path: str, times: np.ndarray, fps: float, num_frames: int) -> list:
        names = sorted(os.listdir(path))
        indices = frame_indices(times, fps=fps, num_stored=num_frames)
        return [self._resized(Image.open(os.path.join(path, names[i]))) for i in indices]

    def _file(self, path: str, times: np.ndarray, fps: float, num_frames: int) -> list:
        indices = frame_indices(times, fps=fps, num_stored=num_frames).tolist()
        images = {}
        # Frames of PyAV 19 share one of these, whose threads a forked worker waits for in vain.
        reformatter = VideoReformatter()
        with open_for_reading(path) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in indices:
                    image = to_rgb(reformatter, frame, width=frame.width, height=frame.height)
                    images[number] = self._resized(Image.fromarray(image))
                if number == max(indices):
                    break
        return [images[i] for i in indices]

    def _resized(self, image: Image.Image) -> np.ndarray:
        short = min(image.size)
        size = [side * self.short_side // short for side in image.size]
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def _records(path: Path, film: Film, num_clips: int, seed: int) -> list[dict]:
    """Dataset dicts of key frames drawn from links to one film, which pass for many videos."""
    for number in range(_NUM_VIDEOS):
        link = path.with_name(f"{path.stem}_{number}{path.suffix}")
        if not link.exists():
            link.symlink_to(path, target_is_directory=path.is_dir())
    rng = np.random.default_rng(seed)
    order = np.resize(rng.permutation(_NUM_VIDEOS), num_clips)
    seconds = rng.uniform(0, film.num_frames / film.fps, num_clips)
    return [
        {
            "video_id": str(number),
            "video": str(path.with_name(f"{path.stem}_{number}{path.suffix}")),
            "timestamp": float(second),
            "fps": float(film.fps),
            "start_second": 0.0,
            "num_frames": film.num_frames,
        }
        for number, second in zip(order.tolist(), seconds)
    ]


def _timed_pass(
    mapper: Callable[[dict], dict], records: list[dict], num_workers: int
) -> tuple[float, float, list[dict]]:
    """Clips per second and per CPU second of a fresh loader, its start included, and its memory."""
    loader = build_test_loader(records, mapper=mapper, num_workers=num_workers)
    start, cpu_start = time.perf_counter(), _cpu_seconds()
    memory = []
    for number, _ in enumerate(loader, start=1):
        if number == len(records):
            speed = number / (time.perf_counter() - start)
            memory = [process_memory(c.pid) for c in multiprocessing.active_children()]
    # The workers have ended, so their time is known.
    per_cpu_second = number / (_cpu_seconds() - cpu_start)
    return speed, per_cpu_second, [usage for usage in memory if usage]


def _cpu_seconds() -> float:
    """Time that this process and those that it started and that ended have worked."""
    return sum(os.times()[:4])


def _case(film: Film, storage: str, runs: dict[str, list[tuple[float, float, list[dict]]]]) -> dict:
    case = {"film": film.name, "storage": storage}
    for name, passes in runs.items():
        usages = [usage for _, _, memory in passes for usage in memory]
        case[name] = {
            "clips_per_second": summary([speed for speed, _, _ in passes]),
            "clips_per_cpu_second": summary([speed for _, speed, _ in passes]),
        }
        for key in ("private_mb", "peak_rss_mb"):
            most = max((usage[key] for usage in usages), default=None)
            case[name][f"{key}_per_worker"] = most
    speeds = [case[name]["clips_per_second"]["median"] for name in ("tubedet", "naive")]
    case["ratio"] = speeds[0] / speeds[1]
    return case


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return _positive(width), _positive(height)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number
