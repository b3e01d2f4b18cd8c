"""What `tubedet evaluate` holds files of predictions against: AVA-type data or action tubes."""

from __future__ import annotations

import argparse
import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data import AVAFiles, ensure_registered, load_ava
from tubedet.data.annotations.ava_csv import AVATable, read_ava_csv
from tubedet.data.datasets.custom import file_stem
from tubedet.errors import UserError, message_of
from tubedet.evaluation import (
    AVA_PROTOCOLS,
    TUBE_PROTOCOLS,
    action_tube_result,
    load_action_tube_groundtruth,
    match_action_tubes,
    read_tube_predictions,
    result_table,
    result_to_dict,
    tube_result_table,
    tube_result_to_dict,
)
from tubedet.evaluation.action_tube_protocol import linked_tube_matches
from tubedet.evaluation.ava_groundtruth import load_ava_groundtruth, read_ava_groundtruth
from tubedet.evaluation.ava_protocol import ava_result, match_ava
from tubedet.evaluation.comparability import check_defined
from tubedet.evaluation.comparison import Comparison, FileFigures, compare
from tubedet.evaluation.file_checks import (
    check_action_ids,
    check_persons,
    read_predictions,
    warn_of_odd_rows,
)
from tubedet.evaluation.frame_matches import FrameMatches
from tubedet.evaluation.report.content import action_tube_report_content, ava_report_content
from tubedet.evaluation.report.html_page import ReportContent
from tubedet.evaluation.report.thumbnails import Paint
from tubedet.evaluation.video_rankings import frame_rankings, tube_rankings, videos_with_content

PROTOCOLS: dict[str, Collection[str]] = {"ava": AVA_PROTOCOLS, "action_tubes": TUBE_PROTOCOLS}


@dataclass(frozen=True)
class EvaluatedFile:
    """One file of predictions.

    Attributes:
        predictions: Its rows.
        matches: What the protocol makes of them.
        result: An ``AVAResult`` or ``ActionTubeResult``.
    """

    predictions: AVATable
    matches: FrameMatches
    result: Any


class EvaluatedData(ABC):
    """A ground truth and the rules to hold predictions against it.

    Args:
        options: Of the command.

    Attributes:
        protocol: Name of the rules.
        title: What reports call the data.

    Raises:
        OSError: if a file cannot be read.
        UserError: if the ground truth cannot be used.
    """

    evaluator_type: str
    envelope = True

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.protocol = _protocol(options, self.evaluator_type)
        self.title = file_stem(options.dataset) if options.dataset else options.groundtruth.name

    @abstractmethod
    def evaluate(self, path: Path) -> EvaluatedFile:
        """Evaluate one file of predictions.

        Args:
            path: A csv.

        Raises:
            OSError: if it cannot be read.
            UserError: if it does not belong to the ground truth.
        """

    @abstractmethod
    def table(self, file: EvaluatedFile) -> str:
        """Return the figures as text.

        Args:
            file: Of :meth:`evaluate`.
        """

    @abstractmethod
    def to_dict(self, file: EvaluatedFile) -> dict:
        """Return the figures as json holds them.

        Args:
            file: Of :meth:`evaluate`.
        """

    @abstractmethod
    def report_content(self, file: EvaluatedFile, paint: Paint | None = None) -> ReportContent:
        """Analyse the errors of a file.

        Args:
            file: Of :meth:`evaluate`.
            paint: What the pictures of the report show besides; None: nothing.
        """

    @abstractmethod
    def _figures(
        self, file: EvaluatedFile, name: str, videos: dict[str, int] | None
    ) -> FileFigures:
        """Return the figures, with rankings if videos have numbers."""

    @abstractmethod
    def _boxes_per_class(self, file: EvaluatedFile) -> dict[str, int]:
        """Return the number of ground-truth boxes of each class."""

    def compare(
        self, files: Sequence[EvaluatedFile], names: Sequence[str], num_resamples: int
    ) -> Comparison:
        """Put files side by side.

        Args:
            files: Of :meth:`evaluate`; the others are compared with the first.
            names: What to call them.
            num_resamples: Of the bootstrap; 0: no intervals.
        """
        content = {video for file in files for video in videos_with_content(file.matches)}
        videos = {video: number for number, video in enumerate(sorted(content))}
        wanted = videos if num_resamples else None
        return compare(
            [self._figures(file, name, wanted) for file, name in zip(files, names, strict=True)],
            self._boxes_per_class(files[0]),
            protocol=self.protocol,
            num_videos=len(videos),
            num_resamples=num_resamples,
            envelope=self.envelope,
        )


class KeyFrameData(EvaluatedData):
    """Key frames in the manner of AVA."""

    evaluator_type = "ava"

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        self._ava_kinetics = AVA_PROTOCOLS[self.protocol].ava_kinetics
        if options.dataset:
            self._groundtruth = load_ava_groundtruth(
                options.dataset, ava_kinetics=self._ava_kinetics
            )
        else:
            self._groundtruth = read_ava_groundtruth(
                options.groundtruth,
                options.labelmap,
                options.exclude,
                ava_kinetics=self._ava_kinetics,
            )
            check_persons(self._groundtruth.table)
        names = MetadataCatalog.get(options.dataset).action_names if options.dataset else ()
        # A label map may evaluate some of the classes that a model knows.
        self._largest_action_id = max(
            len(names),
            *self._groundtruth.label_map,
            self._groundtruth.table.action_ids.max(initial=0),
        )

    def evaluate(self, path: Path) -> EvaluatedFile:
        """See :meth:`EvaluatedData.evaluate`."""
        groundtruth = self._groundtruth
        read = functools.partial(read_ava_csv, ava_kinetics=self._ava_kinetics)
        predictions = read_predictions(path, read)
        check_action_ids(predictions)
        matches = match_ava(
            groundtruth.table,
            predictions,
            groundtruth.label_map,
            groundtruth.exclusions,
            self.protocol,
        )
        result = ava_result(matches, groundtruth.label_map, self.protocol)
        check_defined(result.mean_ap, groundtruth.table, list(groundtruth.label_map))
        warn_of_odd_rows(predictions, self._largest_action_id)
        return EvaluatedFile(predictions, matches, result)

    def table(self, file: EvaluatedFile) -> str:
        """See :meth:`EvaluatedData.table`."""
        return result_table(file.result)

    def to_dict(self, file: EvaluatedFile) -> dict:
        """See :meth:`EvaluatedData.to_dict`."""
        return result_to_dict(file.result)

    def report_content(self, file: EvaluatedFile, paint: Paint | None = None) -> ReportContent:
        """See :meth:`EvaluatedData.report_content`."""
        records = {(r["video_id"], r["timestamp"]): r for r in self._records()}
        return ava_report_content(
            self._groundtruth,
            file.predictions,
            self.protocol,
            title=self.title,
            records=records,
            paint=paint,
        )

    def _figures(
        self, file: EvaluatedFile, name: str, videos: dict[str, int] | None
    ) -> FileFigures:
        metric = "frame-mAP@0.5IOU"
        return FileFigures(
            name=name,
            source=file.predictions.source,
            mean_aps={metric: file.result.mean_ap},
            class_aps=file.result.per_class,
            rankings={metric: [frame_rankings(file.matches, videos)]} if videos else {},
        )

    def _boxes_per_class(self, file: EvaluatedFile) -> dict[str, int]:
        return file.result.groundtruth_per_class

    def _records(self) -> list[dict]:
        """Dataset dicts, which know where the videos are; none where nobody told."""
        options = self.options
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


class TubeData(EvaluatedData):
    """Action tubes."""

    evaluator_type = "action_tubes"

    def __init__(self, options: argparse.Namespace):
        super().__init__(options)
        self.envelope = TUBE_PROTOCOLS[self.protocol].envelope
        self._groundtruth = load_action_tube_groundtruth(options.dataset)

    def evaluate(self, path: Path) -> EvaluatedFile:
        """See :meth:`EvaluatedData.evaluate`."""
        predictions = read_predictions(path, read_tube_predictions)
        check_action_ids(predictions)
        matches = match_action_tubes(self._groundtruth, predictions, self.protocol)
        result = action_tube_result(matches, self._groundtruth, self.protocol)
        class_ids = range(1, len(self._groundtruth.action_names) + 1)
        check_defined(result.frame_map, self._groundtruth.table(), class_ids)
        warn_of_odd_rows(predictions)
        return EvaluatedFile(predictions, matches, result)

    def table(self, file: EvaluatedFile) -> str:
        """See :meth:`EvaluatedData.table`."""
        return tube_result_table(file.result)

    def to_dict(self, file: EvaluatedFile) -> dict:
        """See :meth:`EvaluatedData.to_dict`."""
        return tube_result_to_dict(file.result)

    def report_content(self, file: EvaluatedFile, paint: Paint | None = None) -> ReportContent:
        """See :meth:`EvaluatedData.report_content`."""
        dicts = DatasetCatalog.get(self.options.dataset)
        records = {(r["video_id"], float(r["frame_number"])): r for r in dicts}
        return action_tube_report_content(
            self._groundtruth,
            file.predictions,
            self.protocol,
            title=self.title,
            records=records,
            paint=paint,
        )

    def _figures(
        self, file: EvaluatedFile, name: str, videos: dict[str, int] | None
    ) -> FileFigures:
        frame_metric, rankings = "frame-mAP@0.5", {}
        if videos:
            tubes = linked_tube_matches(file.matches, self._groundtruth, self.protocol)
            rankings[frame_metric] = [frame_rankings(file.matches, videos)]
            rankings |= {
                f"video-mAP@{ious}": of_iou for ious, of_iou in tube_rankings(tubes, videos).items()
            }
        return FileFigures(
            name=name,
            source=file.predictions.source,
            mean_aps={
                frame_metric: file.result.frame_map,
                **{f"video-mAP@{ious}": ap for ious, ap in file.result.video_map.items()},
            },
            class_aps=file.result.frame_ap,
            rankings=rankings,
        )

    def _boxes_per_class(self, file: EvaluatedFile) -> dict[str, int]:
        return file.result.boxes_per_class


def load_evaluated_data(options: argparse.Namespace) -> EvaluatedData:
    """Read the ground truth that the options name.

    Args:
        options: Of the command.

    Returns:
        EvaluatedData: what files of predictions are held against.

    Raises:
        OSError: if a file cannot be read.
        UserError: if the options name no ground truth that can be used.
    """
    evaluated = TubeData if _evaluator_type(options.dataset) == "action_tubes" else KeyFrameData
    try:
        return evaluated(options)
    except FileNotFoundError as error:
        # A yaml names the files itself.
        if options.dataset is None or Path(options.dataset).is_file():
            raise
        raise UserError(
            f"{message_of(error)}; --dataset {options.dataset} needs this file, see "
            "docs/datasets.md. Data sets lie in $DETECTRON2_DATASETS, by default in datasets"
        ) from error


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
