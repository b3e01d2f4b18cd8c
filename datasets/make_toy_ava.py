#!/usr/bin/env python3
"""Writes a small data set of drawn people in the format of AVA.

The videos are real mp4 files and the annotations have the files and the format of AVA v2.1. Written
to $DETECTRON2_DATASETS/ava_toy it is the data sets `ava_toy_train` and `ava_toy_val`. With
--long-term, some actions can only be told from what was seen 10 s before: `ava_toy_long_train` and
`ava_toy_long_val` in ava_toy_long.
"""

import argparse
import fcntl
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from toy_ava.film import FPS, HEIGHT, KEY_SECONDS, START_SECOND, WIDTH, Film, num_frames
from toy_ava.long_term import LONG_KEY_SECONDS, UNSCRIPTED_SECONDS, write_script
from tqdm import tqdm

_MARK = "README.txt"
_LOCK = "unfinished.lock"
# To be raised whenever the same arguments give other videos or annotations.
_GENERATOR_VERSION = 1
_LONG_TERM_VERSION = 1
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SPLITS = ("train", "val")
_LABEL_MAPS = Path(__file__).resolve().parents[1] / "tubedet" / "data" / "datasets" / "label_maps"
_LABEL_MAP_NAMES = (
    "ava_action_list_v2.1.pbtxt",
    "ava_action_list_v2.1_for_activitynet_2018.pbtxt",
)
_README = """\
Toy AVA: drawn people on textured backgrounds, annotated like AVA v2.1.
Written by datasets/make_toy_ava.py with these arguments:
{arguments}
"""


class OutputError(Exception):
    """The output folder cannot be used as it is."""


class _Kind(NamedTuple):
    """What differs between the data sets.

    Attributes:
        folder: name of the folder in $DETECTRON2_DATASETS.
        num_videos: of training and validation.
        key_seconds: the annotated seconds.
        free_seconds: those that may be empty or excluded.
        version: what the file that marks a finished set says.
    """

    folder: str
    num_videos: tuple[int, int]
    key_seconds: range
    free_seconds: Sequence[int]
    version: dict[str, int]


_PLAIN = _Kind(
    "ava_toy", (120, 20), KEY_SECONDS, KEY_SECONDS, {"generator_version": _GENERATOR_VERSION}
)
_LONG_TERM = _Kind(
    "ava_toy_long",
    (100, 20),
    LONG_KEY_SECONDS,
    UNSCRIPTED_SECONDS,
    {"generator_version": _GENERATOR_VERSION, "long_term_version": _LONG_TERM_VERSION},
)


class _VideoPlan(NamedTuple):
    """What a worker needs to make one video; equal plans give equal videos."""

    seed: int
    split: str
    index: int
    video_id: str
    empty_second: int | None
    path: Path
    key_seconds: range
    script: dict[int, int]


def make_toy_ava(
    output: Path,
    seed: int = 0,
    train_videos: int | None = None,
    val_videos: int | None = None,
    jobs: int = 2,
    long_term: bool = False,
) -> bool:
    """Write the toy data set to `output`, all of it or nothing.

    The set is made in a sibling folder which is renamed at the end. A sibling left by an
    interrupted run is made again; a finished set with the same arguments is left as it is.

    Args:
        output: folder to make; it may exist if it is empty or holds the same toy data set.
        seed: source of everything random, >= 0. The set does not depend on `jobs`.
        train_videos: number of training videos; None: 120, or 100 with `long_term`.
        val_videos: number of validation videos; None: 20.
        jobs: number of processes.
        long_term: Make the set whose actions depend on what was seen 10 s before.

    Returns:
        True if the data set was written, False if it was there already.

    Raises:
        OutputError: `output` holds something else, is incomplete, or is being written by another
            process.
        ValueError: an argument is out of range.
    """
    kind = _LONG_TERM if long_term else _PLAIN
    train_videos = kind.num_videos[0] if train_videos is None else train_videos
    val_videos = kind.num_videos[1] if val_videos is None else val_videos
    for name, value, low in (
        ("seed", seed, 0),
        ("train_videos", train_videos, 1),
        ("val_videos", val_videos, 1),
        ("jobs", jobs, 1),
    ):
        if value < low:
            raise ValueError(f"{name} is {value}, but must be at least {low}.")
    output = Path(output).absolute()
    arguments = {
        "seed": seed,
        "train_videos": train_videos,
        "val_videos": val_videos,
        **kind.version,
    }
    mark = _README.format(arguments=json.dumps(arguments))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        _check_same_data_set(output, mark)
        return False
    output.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished_folder(output) as folder:
        _write_data_set(folder, kind, seed, {"train": train_videos, "val": val_videos}, jobs)
        (folder / _MARK).write_text(mark)
    return True


def _check_same_data_set(output: Path, mark: str) -> None:
    mark_path = output / _MARK
    if not mark_path.is_file():
        raise OutputError(
            f"{output} is not empty and was not written by this program (no {_MARK} in it). "
            "Nothing was changed; choose another folder."
        )
    if mark_path.read_text() != mark:
        raise OutputError(
            f"{output} holds something else than the data set asked for; {mark_path} says what. "
            "Nothing was changed; choose another folder or remove this one."
        )
    lists = [output / "annotations" / f"ava_file_names_{split}_v2.1.txt" for split in _SPLITS]
    videos = [output / "videos" / name for path in lists for name in path.read_text().split()]
    for path in videos:
        if not path.is_file():
            raise OutputError(f"{path} is missing. Remove {output} to make the data set again.")


@contextmanager
def _unfinished_folder(output: Path) -> Iterator[Path]:
    """Give a sibling of `output` to write to; it takes the place of `output` in the end."""
    folder = output.with_name(f".{output.name}.unfinished")
    folder.mkdir(exist_ok=True)
    lock_path = folder / _LOCK
    is_own = lock_path.exists() or (folder / _MARK).exists()
    if any(folder.iterdir()) and not is_own:
        raise OutputError(f"{folder} was not written by this program. Move it away.")
    # The lock goes away with the process, so a killed run blocks nobody.
    with open(lock_path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"Another process is making {output} at the moment.") from None
        for left_over in folder.iterdir():
            if left_over.is_dir():
                shutil.rmtree(left_over)
            elif left_over != lock_path:
                left_over.unlink()
        yield folder
        lock_path.unlink()
        os.replace(folder, output)


def _write_data_set(
    folder: Path, kind: _Kind, seed: int, num_videos: dict[str, int], jobs: int
) -> None:
    annotations, videos = folder / "annotations", folder / "videos"
    annotations.mkdir()
    videos.mkdir()
    ids = _video_ids(sum(num_videos.values()), seed)
    excluded, plans = {}, []
    for split in _SPLITS:
        rng = np.random.default_rng([seed, _SPLITS.index(split)])
        empty_second, excluded_second = rng.choice(kind.free_seconds, 2, replace=False).tolist()
        split_ids = [ids.pop() for _ in range(num_videos[split])]
        excluded[split] = (split_ids[-1], excluded_second)
        plans += [
            _VideoPlan(
                seed,
                split,
                i,
                video_id,
                None if i else empty_second,
                videos / f"{video_id}.mp4",
                kind.key_seconds,
                write_script(seed, _SPLITS.index(split), i) if kind is _LONG_TERM else {},
            )
            for i, video_id in enumerate(split_ids)
        ]
    rows = {split: [] for split in _SPLITS}
    # "spawn" behaves alike on Linux and macOS, and forks no threads of the libraries.
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(plans))) as pool:
        made = pool.imap(_make_video, plans)
        for video_rows, plan in zip(tqdm(made, "toy videos", len(plans), unit="video"), plans):
            rows[plan.split] += video_rows
    for split in _SPLITS:
        video_id, second = excluded[split]
        lines = [r for r in sorted(rows[split]) if not r.startswith(f"{video_id},{second:04d},")]
        names = [f"{plan.video_id}.mp4" for plan in plans if plan.split == split]
        _write_lines(annotations / f"ava_{split}_v2.1.csv", lines)
        _write_lines(
            annotations / f"ava_{split}_excluded_timestamps_v2.1.csv", [f"{video_id},{second:04d}"]
        )
        _write_lines(annotations / f"ava_file_names_{split}_v2.1.txt", sorted(names))
    _write_lines(
        annotations / "ava_included_timestamps_v2.1.txt", [f"{s:04d}" for s in kind.key_seconds]
    )
    info = f"{HEIGHT},{WIDTH},{FPS},{START_SECOND},{num_frames(kind.key_seconds)}"
    _write_lines(
        annotations / "video_info.csv",
        ["video_id,height,width,fps,start_second,num_frames"]
        + sorted(f"{plan.video_id},{info}" for plan in plans),
    )
    for name in _LABEL_MAP_NAMES:
        shutil.copyfile(_LABEL_MAPS / name, annotations / name)


def _make_video(plan: _VideoPlan) -> list[str]:
    """Encode one video and return its rows of the annotation csv."""
    rng = np.random.default_rng([plan.seed, _SPLITS.index(plan.split), plan.index])
    film = Film(rng, plan.empty_second, plan.key_seconds, plan.script)
    rows = [
        f"{plan.video_id},{second:04d},{','.join(f'{edge:.3f}' for edge in box)},{action},{person}"
        for second, box, actions, person in film.annotations()
        for action in actions
    ]
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    # A key picture every few frames makes seeking to any second cheap.
    options = {"g": "4"} | ({"crf": "20", "preset": "superfast"} if codec == "libx264" else {})
    with av.open(str(plan.path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        if codec == "mpeg4":
            stream.bit_rate = 2_000_000
        for index, image in enumerate(film.frames()):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return rows


def _video_ids(count: int, seed: int) -> list[str]:
    """Different ids of 11 characters, as YouTube's."""
    rng = np.random.default_rng([seed, len(_SPLITS)])
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids["".join(rng.choice(list(_ID_LETTERS), 11))] = None
    return list(ids)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--output", type=Path, help="folder to make (default: the set's in $DETECTRON2_DATASETS)"
    )
    parser.add_argument(
        "--long-term", action="store_true", help="make the set whose actions need a long memory"
    )
    parser.add_argument("--seed", type=int, default=0, help="source of everything random")
    parser.add_argument("--train-videos", type=int, help="number of training videos")
    parser.add_argument("--val-videos", type=int, help="number of validation videos")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="number of processes")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(arguments)
    root = Path(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
    output = args.output or root / (_LONG_TERM if args.long_term else _PLAIN).folder
    try:
        written = make_toy_ava(
            output, args.seed, args.train_videos, args.val_videos, args.jobs, args.long_term
        )
    except (OutputError, ValueError) as error:
        print(f"make_toy_ava.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{'Wrote' if written else 'Reusing'} the toy data set in {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
