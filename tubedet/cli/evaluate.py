"""Compute the figures of files of predictions, and compare them.

The ground truth is that of a registered data set or of the yaml of a custom one (--dataset), or is
given as files in AVA's format (--groundtruth and --labelmap). AVA-type data give frame-mAP@0.5,
data sets of action tubes (JHMDB, UCF101-24) video-mAP too. All files may be compressed with gzip.

Several files after --predictions are compared with the first of them: one table by class with
differences, and intervals by a paired bootstrap over videos.

No model is needed, but for one thing: --explain CONFIG MODEL.WEIGHTS FILE runs the model that
made the predictions (a class-query detector, TubeR or D4) on the pictures of the report, and draws
on each where it looks for the action.
"""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tubedet.data.datasets.input_files import check_output_file, input_files
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.evaluation.comparison import (
    Comparison,
    bootstrap_to_dict,
    check_resamples,
    comparison_to_dict,
    intervals_to_dict,
)
from tubedet.evaluation.comparison_table import (
    check_table_path,
    comparison_table,
    metric_cells,
    table_note,
    write_comparison_table,
)
from tubedet.evaluation.report.comparison_page import (
    check_comparison_folders,
    write_comparison_report,
)
from tubedet.evaluation.report.content import with_intervals
from tubedet.evaluation.report.html_page import write_html_report
from tubedet.evaluation.report.page_frame import check_report_folder
from tubedet.files.atomic_writing import write_json
from tubedet.inference.example_attention import ExampleAttention

from .evaluated_data import PROTOCOLS, EvaluatedData, EvaluatedFile, load_evaluated_data

_DEFAULT_RESAMPLES = 1000
_CONFIG_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("--dataset", help="registered data set, or yaml of a custom data set")
    parser.add_argument("--groundtruth", type=Path, help="ground-truth csv")
    parser.add_argument("--labelmap", type=Path, help="pbtxt of evaluated classes")
    parser.add_argument("--exclude", type=Path, help="csv of excluded video_id,timestamp")
    parser.add_argument(
        "--predictions",
        required=True,
        type=Path,
        nargs="+",
        metavar="FILE",
        help="prediction csv; several are compared with the first",
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="what tables call the files of --predictions"
    )
    parser.add_argument(
        "--bootstrap",
        type=int,
        metavar="N",
        help="resamples of the videos for 95 %% intervals, 0: no intervals (default: "
        f"{_DEFAULT_RESAMPLES} for several files, 0 for one)",
    )
    parser.add_argument(
        "--protocol",
        choices=[name for protocols in PROTOCOLS.values() for name in protocols],
        help="AVA: revision of the official script, official is that of 2019 (default); action "
        "tubes: act (default) or voc",
    )
    parser.add_argument(
        "--json", type=Path, help="where to write the figures, as fractions, not percent"
    )
    parser.add_argument(
        "--table", type=Path, help="where to write the table: .md for markdown, .tex for LaTeX"
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
        help="of a class-query detector, TubeR or D4: draw on the pictures of the report where it "
        "looks",
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
    _move_config_keys(options)
    files = (options.groundtruth, options.labelmap, options.exclude, options.videos, options.frames)
    if options.dataset and any(files):
        raise UserError("--dataset knows its files: leave out --groundtruth and the like")
    if not options.dataset and not (options.groundtruth and options.labelmap):
        raise UserError("give --dataset, or --groundtruth and --labelmap")
    if options.explain is None and options.opts:
        raise UserError(f"{options.opts[0]}: config keys are for --explain, and come behind it")
    if options.explain is not None and options.report is None:
        raise UserError("--explain draws on the pictures of a report: give --report")
    if options.explain is not None and len(options.predictions) > 1:
        raise UserError("--explain shows where one model looks: give one file of --predictions")
    if options.bootstrap is not None:
        check_resamples(options.bootstrap)
    if options.table:
        check_table_path(options.table)
    file_names(options.predictions, options.names)


def main(options: argparse.Namespace) -> int:
    """Evaluate, print the table and write the files.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 2 on input that cannot be evaluated.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    _check_inputs(options)
    _check_outputs(options)
    paint = None if options.explain is None else _attention(options)
    data = load_evaluated_data(options)
    files = [data.evaluate(path) for path in options.predictions]
    names = file_names(options.predictions, options.names)
    resamples = options.bootstrap
    if resamples is None:
        resamples = _DEFAULT_RESAMPLES if len(files) > 1 else 0
    comparison = data.compare(files, names, resamples)
    if len(files) == 1:
        _tell_one(data, files[0], comparison, options)
    else:
        _tell_several(comparison, options)
    if options.table:
        write_comparison_table(comparison, options.table)
    if options.report:
        contents = [data.report_content(file, paint) for file in files]
        if len(files) == 1:
            page = write_html_report(with_intervals(contents[0], comparison), options.report)
        else:
            page = write_comparison_report(comparison, contents, options.report, title=data.title)
        print(f"The report is {page}")
    return 0


def file_names(paths: Sequence[Path], names: Sequence[str] | None = None) -> list[str]:
    """Return what to call files of predictions.

    Args:
        paths: Of the files.
        names: Those that the user chose; None: the parts of the paths that differ.

    Raises:
        UserError: if there are not as many names as files, or two are equal.
    """
    if names is not None:
        if len(names) != len(paths):
            raise UserError(
                f"--names: {len(names)} names for {len(paths)} files of --predictions; give one "
                "for each"
            )
        if len(set(names)) < len(names):
            raise UserError("--names: two names are equal; give each file another one")
        return list(names)
    if len(set(paths)) < len(paths):
        raise UserError("--predictions: a file is given twice; compare different files")
    stems = [path.name.partition(".")[0] for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    parts = [path.parts for path in paths]
    start, end = 0, 0
    while len({path[: start + 1] for path in parts}) == 1:
        start += 1
    while len({path[len(path) - end - 1 :] for path in parts}) == 1:
        end += 1
    return ["/".join(path[start : max(start + 1, len(path) - end)]) for path in parts]


def _tell_one(
    data: EvaluatedData, file: EvaluatedFile, comparison: Comparison, options: argparse.Namespace
) -> None:
    print(data.table(file))
    if comparison.resampled:
        cells = {metric: metric_cells(comparison, metric)[0] for metric in comparison.metrics}
        print("\n".join(f"{metric} {cell}" for metric, cell in cells.items()))
    if comparison.interval_note:
        print(comparison.interval_note)
    if options.json:
        content = data.to_dict(file)
        if options.bootstrap:
            content["bootstrap"] = bootstrap_to_dict(comparison)
            content["intervals"] = intervals_to_dict(comparison) or None
        write_json(content, options.json)


def _tell_several(comparison: Comparison, options: argparse.Namespace) -> None:
    print(table_note(comparison))
    print(comparison_table(comparison))
    if comparison.interval_note:
        print(comparison.interval_note)
    if options.json:
        write_json(comparison_to_dict(comparison), options.json)


def _move_config_keys(options: argparse.Namespace) -> None:
    """Take config keys out of the list of files, which ends where the next option begins."""
    for place, path in enumerate(options.predictions[1:], start=1):
        if _CONFIG_KEY.match(str(path)) and not path.exists():
            options.opts = [str(word) for word in options.predictions[place:]] + options.opts
            del options.predictions[place:]
            break


def _attention(options: argparse.Namespace) -> ExampleAttention:
    """Build what draws where a model looks."""
    cfg = load_config(options.explain, options.opts)
    if not cfg.MODEL.WEIGHTS:
        raise UserError(
            "--explain needs weights: put MODEL.WEIGHTS FILE behind all options, those that made "
            "the predictions"
        )
    return ExampleAttention(cfg)


def _check_inputs(options: argparse.Namespace) -> None:
    """Say which option names a file that is not there."""
    given = [(f"--{name}", getattr(options, name)) for name in ("groundtruth", "labelmap")]
    given += [("--exclude", options.exclude)]
    given += [("--predictions", path) for path in options.predictions]
    for option, path in given:
        if path and not path.exists():
            raise UserError(f"{option}: {path}: No such file or directory")


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse what could not be written at the end, or would replace what is no output."""
    inputs = [options.groundtruth, options.labelmap, options.exclude, *options.predictions]
    inputs += input_files(options.dataset) if options.dataset else []
    for option, path in (("--json", options.json), ("--table", options.table)):
        if path:
            try:
                check_output_file(path, [given for given in inputs if given])
            except (OSError, UserError) as error:
                raise UserError(f"{option}: {error}") from error
    if options.report and len(options.predictions) > 1:
        check_comparison_folders(options.report, len(options.predictions))
    elif options.report:
        check_report_folder(options.report)
