"""Report every problem of data sets: file, line and reason.

The exit status is 0 if training can start (there may be warnings), 1 if there are errors, 2 if the
command line is wrong. Data sets given together are checked for common videos, as those of training
and validation must have none. With --config-file, everything is checked that train_net checks in
the data of that config, whose data sets need no name then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from tubedet.data.datasets.ava import AVAFiles, load_ava
from tubedet.data.datasets.input_files import check_output_file, input_files
from tubedet.data.validation.annotation_checks import (
    check_ava,
    shared_videos,
)
from tubedet.data.validation.checked_dataset import CheckedDataset, Problem
from tubedet.data.validation.dataset_checks import check_dataset, check_loading
from tubedet.data.validation.media_checks import check_media
from tubedet.engine import Trainer, load_config
from tubedet.engine.config_checks import check_run_config, number_of, queries_key
from tubedet.engine.data_checks import check_same_actions, describe_crowds, mirrored_actions
from tubedet.engine.start_checks import check_data_sets
from tubedet.errors import USER_ERRORS, UserError, message_of
from tubedet.files.atomic_writing import open_atomically

from .arguments import positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("datasets", nargs="*", help="registered names, or yamls of custom ones")
    parser.add_argument(
        "--dataset", nargs="+", default=[], metavar="NAME", help="the same, as other tools have it"
    )
    parser.add_argument("--config-file", metavar="FILE", help="config of the run to prepare")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="its keys")
    csvs = parser.add_argument_group("csv files in the format of AVA, instead of names")
    csvs.add_argument("--groundtruth", nargs="+", default=[], help="the csvs")
    csvs.add_argument("--labelmap", help="pbtxt with their actions")
    csvs.add_argument("--exclude", help="csv of excluded video_id,timestamp")
    csvs.add_argument("--seconds", help="list of the annotated seconds, one per line")
    csvs.add_argument("--file-names", help="list of the video files, one per line")
    csvs.add_argument("--videos", default="videos", help="folder of videos or of frame folders")
    csvs.add_argument("--fps", type=float, default=30.0, help="of frame folders")
    csvs.add_argument("--start", type=float, default=900.0, help="second of the first frame")
    parser.add_argument(
        "--media",
        nargs="?",
        const="sample",
        choices=("sample", "all"),
        help="open the videos too; decode 3 key frames of each (sample, default), or all and "
        "compare them with sequential decoding",
    )
    parser.add_argument("--jobs", type=positive_int, default=2, help="videos at the same time")
    parser.add_argument("--json", type=Path, help="where to write all problems; - for stdout")
    parser.add_argument(
        "--show", type=int, default=20, help="problems printed per kind and file; 0: all"
    )


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    options.datasets += options.dataset
    options.cfg = None
    if options.opts and not options.config_file:
        raise UserError("--opts needs --config-file")
    if options.config_file:
        if options.groundtruth:
            raise UserError("--config-file names data sets: leave out --groundtruth")
        options.cfg = load_config(options.config_file, options.opts)
        used = options.cfg.DATASETS
        options.datasets = options.datasets or list(dict.fromkeys([*used.TRAIN, *used.TEST]))
    if bool(options.datasets) == bool(options.groundtruth):
        raise UserError("give names of data sets, --config-file or --groundtruth")
    if options.groundtruth and not options.labelmap:
        raise UserError("--groundtruth needs --labelmap")
    if options.json and str(options.json) != "-":
        try:
            check_output_file(options.json, _input_files(options))
        except (OSError, UserError) as error:
            raise UserError(f"--json: {error}") from error


def main(options: argparse.Namespace) -> int:
    """Check, report and write the json.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 1 if there are errors.
    """
    if options.groundtruth:
        datasets = [_check_csv(path, options) for path in options.groundtruth]
    else:
        datasets = [check_dataset(name) for name in options.datasets]
    problems = [problem for checked in datasets for problem in checked.problems]
    problems += shared_videos(datasets)
    if not options.groundtruth:
        problems += different_actions(options.datasets, datasets)
        problems += mirrored(options.datasets, options.cfg)
    if options.cfg is None:
        problems += beyond_default_protocol(datasets)
    else:
        problems += crowds(datasets, options.cfg)
        if not any(problem.severity == "error" for problem in problems):
            problems += refusals(options.cfg, options.config_file)
    if options.media:
        records = [
            record
            for checked in datasets
            for record in checked.records
            if record["video_id"] not in checked.missing_videos
        ]
        everything = options.media == "all"
        problems += check_media(records, every_key_frame=everything, jobs=options.jobs)
    num_errors = sum(problem.severity == "error" for problem in problems)
    try:
        if options.json:
            _write_json(options.json, datasets, problems, num_errors)
        if str(options.json) != "-":
            _print_report(datasets, problems, num_errors, options.show)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads, such as head, has enough. Python would flush once more at its end, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if num_errors else 0


def different_actions(names: Sequence[str], datasets: Sequence[CheckedDataset]) -> list[Problem]:
    """Find data sets that a run could not use together, because their actions differ.

    Args:
        names: of the data sets, or paths of their yamls.
        datasets: what was found of each; those with errors are left out.

    Returns:
        list[Problem]: at most one.
    """
    names = [
        name
        for name, checked in zip(names, datasets, strict=True)
        if not any(problem.severity == "error" for problem in checked.problems)
    ]
    try:
        check_same_actions(names)
    except UserError as error:
        return [Problem("error", "actions", names[0], None, str(error))]
    return []


def mirrored(names: Sequence[str], cfg: CfgNode | None) -> Iterator[Problem]:
    """Warn of actions that a flipped clip turns into each other.

    Args:
        names: of the data sets.
        cfg: of the run; None: not known.

    Yields:
        Problem: one for each pair of actions.
    """
    if cfg is not None and (cfg.INPUT.RANDOM_FLIP == "none" or cfg.MODEL.PERSON_ONLY):
        return
    for name in names:
        actions = MetadataCatalog.get(name).get("action_names", None) or ()
        for one, other in mirrored_actions(actions):
            message = (
                f"training flips clips, which makes {one!r} of {other!r} and keeps the label; set "
                "INPUT.RANDOM_FLIP none"
            )
            yield Problem("warning", "mirrored", name, None, message)


def beyond_default_protocol(datasets: Sequence[CheckedDataset]) -> list[Problem]:
    """Warn of rows which the default protocol of evaluation refuses.

    Args:
        datasets: what was found of each.
    """
    found = [(checked.source, checked.needs_2020) for checked in datasets]
    return [
        Problem("warning", row.kind, source, row.line, f"to evaluate on this, {row.message}")
        for source, row in found
        if row is not None
    ]


def crowds(datasets: Sequence[CheckedDataset], cfg: CfgNode) -> Iterator[Problem]:
    """Warn of key frames with more persons than the model of a config finds.

    Args:
        datasets: what was found of each.
        cfg: of the run.

    Yields:
        Problem: one for each data set with such key frames.
    """
    key = queries_key(cfg)
    if key is None:
        return
    for checked in datasets:
        numbers = [len(key_frame["annotations"]) for key_frame in checked.key_frames or ()]
        if message := describe_crowds(numbers, num_queries=number_of(cfg, key), key=key):
            yield Problem("warning", "crowd", checked.source, None, f"{message}; raise the key")


def refusals(cfg: CfgNode, config_file: str) -> list[Problem]:
    """Find out what a training with a config would refuse, on whatever device.

    Args:
        cfg: the config.
        config_file: its path.

    Returns:
        list[Problem]: at most one.
    """
    cfg = cfg.clone()
    cfg.MODEL.DEVICE, cfg.TEST.AMP = "cpu", ""
    try:
        check_run_config(cfg, num_processes=1, eval_only=False)
        check_data_sets(cfg, eval_only=False, build_evaluator=Trainer.build_evaluator)
    except USER_ERRORS as error:
        return [Problem("error", "config", config_file, None, message_of(error))]
    return []


def _input_files(options: argparse.Namespace) -> list[str]:
    lists = (options.labelmap, options.exclude, options.seconds, options.file_names)
    files = [*options.groundtruth, *(path for path in lists if path)]
    if options.config_file:
        files.append(options.config_file)
    return files + [path for name in options.datasets for path in input_files(name)]


def _check_csv(path: str, options: argparse.Namespace) -> CheckedDataset:
    files = AVAFiles(
        groundtruth_csv=path,
        action_list=options.labelmap,
        label_map=options.labelmap,
        exclusions_csv=options.exclude,
        included_timestamps=options.seconds,
        file_names=options.file_names,
        frames_dir=options.videos,
        videos_dir=options.videos,
        fps=options.fps,
        start_second=options.start,
    )
    checked = check_ava(path, files)
    check_loading(checked, lambda: load_ava(files, name=path))
    return checked


def _write_json(
    path: Path, datasets: list[CheckedDataset], problems: list[Problem], num_errors: int
) -> None:
    content = {
        "can_train": num_errors == 0,
        "num_errors": num_errors,
        "num_warnings": len(problems) - num_errors,
        "data_sets": [_summary(checked) for checked in datasets],
        "problems": [asdict(problem) for problem in problems],
    }
    text = json.dumps(content, indent=1) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        with open_atomically(path) as stream:
            stream.write(text)


def _summary(checked: CheckedDataset) -> dict:
    return {
        "name": checked.name,
        "annotation": checked.source,
        "rows": checked.num_rows,
        "videos": len(checked.first_lines),
        "key_frames": len(checked.records),
    }


def _print_report(
    datasets: list[CheckedDataset], problems: list[Problem], num_errors: int, show: int
) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for problem in problems:
        group = (problem.file, problem.kind)
        counts[group] += 1
        if not show or counts[group] <= show:
            print(problem)
    for (file, kind), count in counts.items():
        if show and count > show:
            print(f"{file}: {count - show} more of [{kind}] (--show 0 prints all)")
    for checked in datasets:
        summary = _summary(checked)
        print(
            f"{checked.name}: {summary['rows']} rows, {summary['videos']} videos, "
            f"{summary['key_frames']} key frames"
        )
    verdict = "training can start" if not num_errors else "training cannot start"
    print(f"{num_errors} errors, {len(problems) - num_errors} warnings: {verdict}")
