"""Compute the figures of a file of predictions.

The ground truth is that of a registered data set or of the yaml of a custom one (--dataset), or is
given as files in AVA's format (--groundtruth and --labelmap). AVA-type data give frame-mAP@0.5,
data sets of action tubes (JHMDB, UCF101-24) video-mAP too. All files may be compressed with gzip.

No model is needed, but for one thing: --explain CONFIG MODEL.WEIGHTS FILE runs the class-query
detector that made the predictions on the pictures of the report, and draws on each where it looks
for the action.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data import AVAFiles, ensure_registered, load_ava
from tubedet.data.annotations.ava_csv import read_ava_csv
from tubedet.data.datasets.custom import file_stem
from tubedet.data.datasets.input_files import check_output_file, input_files
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.evaluation import (
    AVA_PROTOCOLS,
    TUBE_PROTOCOLS,
    evaluate_action_tubes,
    evaluate_ava,
    load_action_tube_groundtruth,
    read_tube_predictions,
    result_table,
    tube_result_table,
    write_result_json,
    write_tube_result_json,
)
from tubedet.evaluation.ava_groundtruth import load_ava_groundtruth, read_ava_groundtruth
from tubedet.evaluation.comparability import check_defined
from tubedet.evaluation.report.content import action_tube_report_content, ava_report_content
from tubedet.evaluation.report.html_page import (
    ReportContent,
    check_report_folder,
    write_html_report,
)
from tubedet.evaluation.report.thumbnails import Paint
from tubedet.inference.example_attention import ExampleAttention

PROTOCOLS: dict[str, Collection[str]] = {"ava": AVA_PROTOCOLS, "action_tubes": TUBE_PROTOCOLS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("--dataset", help="registered data set, or yaml of a custom data set")
    parser.add_argument("--groundtruth", type=Path, help="ground-truth csv")
    parser.add_argument("--labelmap", type=Path, help="pbtxt of evaluated classes")
    parser.add_argument("--exclude", type=Path, help="csv of excluded video_id,timestamp")
    parser.add_argument("--predictions", required=True, type=Path, help="prediction csv")
    parser.add_argument(
        "--protocol",
        choices=[name for protocols in PROTOCOLS.values() for name in protocols],
        help="AVA: revision of the official script, official is that of 2019 (default); action "
        "tubes: act (default) or voc",
    )
    parser.add_argument(
        "--json", type=Path, help="where to write the figures, as fractions, not percent"
    )
    parser.add_argument("--report", type=Path, help="folder for an html report")
    parser.add_argument(
        "--videos", type=Path, help="with --groundtruth: video files for the pictures of the report"
    )
    parser.add_argument(
        "--frames", type=Path, help="with --groundtruth: folders of frames, 30 per second, instead"
    )
    parser.add_argument(
        "--explain",
        metavar="CONFIG",
        help="of a class-query detector: draw on the pictures of the report where it looks",
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys for --explain"
    )


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    files = (options.groundtruth, options.labelmap, options.exclude, options.videos, options.frames)
    if options.dataset and any(files):
        raise UserError("--dataset knows its files: leave out --groundtruth and the like")
    if not options.dataset and not (options.groundtruth and options.labelmap):
        raise UserError("give --dataset, or --groundtruth and --labelmap")
    if options.explain is None and options.opts:
        raise UserError(f"{options.opts[0]}: config keys are for --explain, and come behind it")
    if options.explain is not None and options.report is None:
        raise UserError("--explain draws on the pictures of a report: give --report")


def main(options: argparse.Namespace) -> int:
    """Evaluate, print the table and write the files.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 2 on input that cannot be evaluated.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    _check_outputs(options)
    paint = None if options.explain is None else _attention(options)
    if _evaluator_type(options.dataset) == "action_tubes":
        content = evaluate_tubes(options, paint)
    else:
        content = evaluate_key_frames(options, paint)
    if content is not None:
        print(f"The report is {write_html_report(content, options.report)}")
    return 0


def evaluate_key_frames(
    options: argparse.Namespace, paint: Paint | None = None
) -> ReportContent | None:
    """Evaluate AVA-type data.

    Args:
        options: of :func:`add_arguments`.
        paint: what the pictures of the report show besides; None: nothing.

    Returns:
        ReportContent | None: None without ``--report``.

    Raises:
        OSError: if a file cannot be read or written.
        UserError: if the input cannot be evaluated.
    """
    protocol = _protocol(options, "ava")
    ava_kinetics = AVA_PROTOCOLS[protocol].ava_kinetics
    if options.dataset:
        groundtruth = load_ava_groundtruth(options.dataset, ava_kinetics=ava_kinetics)
    else:
        groundtruth = read_ava_groundtruth(
            options.groundtruth, options.labelmap, options.exclude, ava_kinetics=ava_kinetics
        )
    predictions = read_ava_csv(options.predictions, ava_kinetics=ava_kinetics)
    result = evaluate_ava(
        groundtruth.table, predictions, groundtruth.label_map, groundtruth.exclusions, protocol
    )
    check_defined(result.mean_ap, groundtruth.table, list(groundtruth.label_map))
    print(result_table(result))
    if options.json:
        write_result_json(result, options.json)
    if not options.report:
        return None
    records = {(r["video_id"], r["timestamp"]): r for r in _key_frame_records(options)}
    title = file_stem(options.dataset) if options.dataset else options.groundtruth.name
    return ava_report_content(
        groundtruth, predictions, protocol, title=title, records=records, paint=paint
    )


def evaluate_tubes(options: argparse.Namespace, paint: Paint | None = None) -> ReportContent | None:
    """Evaluate a data set of action tubes.

    Args:
        options: of :func:`add_arguments`.
        paint: what the pictures of the report show besides; None: nothing.

    Returns:
        ReportContent | None: None without ``--report``.

    Raises:
        OSError: if a file cannot be read or written.
        UserError: if the input cannot be evaluated.
    """
    protocol = _protocol(options, "action_tubes")
    groundtruth = load_action_tube_groundtruth(options.dataset)
    predictions = read_tube_predictions(options.predictions)
    result = evaluate_action_tubes(groundtruth, predictions, protocol)
    class_ids = range(1, len(groundtruth.action_names) + 1)
    check_defined(result.frame_map, groundtruth.table(), class_ids)
    print(tube_result_table(result))
    if options.json:
        write_tube_result_json(result, options.json)
    if not options.report:
        return None
    dicts = DatasetCatalog.get(options.dataset)
    records = {(r["video_id"], float(r["frame_number"])): r for r in dicts}
    title = file_stem(options.dataset)
    return action_tube_report_content(
        groundtruth, predictions, protocol, title=title, records=records, paint=paint
    )


def _attention(options: argparse.Namespace) -> ExampleAttention:
    """Build what draws where a model looks."""
    cfg = load_config(options.explain, options.opts)
    if not cfg.MODEL.WEIGHTS:
        raise UserError(
            "--explain needs weights: put MODEL.WEIGHTS FILE behind all options, those that made "
            "the predictions"
        )
    return ExampleAttention(cfg)


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse what could not be written at the end, or would replace what is no output."""
    inputs = [options.groundtruth, options.labelmap, options.exclude, options.predictions]
    inputs += input_files(options.dataset) if options.dataset else []
    if options.json:
        try:
            check_output_file(options.json, [path for path in inputs if path])
        except (OSError, UserError) as error:
            raise UserError(f"--json: {error}") from error
    if options.report:
        check_report_folder(options.report)


def _evaluator_type(dataset: str | None) -> str:
    """Return what kind of data the ground truth is; files are in AVA's format."""
    if dataset is None:
        return "ava"
    ensure_registered(dataset)
    if dataset not in DatasetCatalog:
        known = [
            name
            for name in DatasetCatalog.list()
            if MetadataCatalog.get(name).get("evaluator_type", None) in PROTOCOLS
        ]
        raise UserError(
            f"--dataset {dataset} is no registered data set and no yaml; registered are "
            f"{', '.join(sorted(known))}"
        )
    evaluator_type = MetadataCatalog.get(dataset).get("evaluator_type", None)
    if evaluator_type not in PROTOCOLS:
        raise UserError(f"--dataset {dataset}: no protocol for data of the type {evaluator_type}")
    return evaluator_type


def _protocol(options: argparse.Namespace, evaluator_type: str) -> str:
    known = PROTOCOLS[evaluator_type]
    if options.protocol is not None and options.protocol not in known:
        raise UserError(
            f"--protocol {options.protocol} is not for this data set; choose {', '.join(known)}"
        )
    return options.protocol or next(iter(known))


def _key_frame_records(options: argparse.Namespace) -> list[dict]:
    """Dataset dicts, which know where the videos are; none where nobody told."""
    if options.dataset:
        return DatasetCatalog.get(options.dataset)
    if not options.videos and not options.frames:
        return []
    files = AVAFiles(
        groundtruth_csv=str(options.groundtruth),
        action_list=str(options.labelmap),
        label_map=str(options.labelmap),
        frames_dir=str(options.frames or ""),
        videos_dir=str(options.videos or ""),
    )
    return load_ava(files, name=str(options.groundtruth))
