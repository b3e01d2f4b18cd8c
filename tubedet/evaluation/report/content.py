"""What the html report says about a prediction file, for AVA and for data sets of action tubes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tubedet.data.annotations.ava_csv import AnnotationError, AVATable
from tubedet.evaluation.action_tube_groundtruth import ActionTubeGroundtruth
from tubedet.evaluation.action_tube_protocol import (
    TUBE_PROTOCOLS,
    evaluate_action_tubes,
    match_action_tubes,
)
from tubedet.evaluation.ava_groundtruth import AVAGroundtruth
from tubedet.evaluation.ava_protocol import AVA_PROTOCOLS, ava_result, match_ava
from tubedet.evaluation.comparison import Comparison
from tubedet.evaluation.comparison_table import interval_text
from tubedet.evaluation.error_analysis import analyse_errors
from tubedet.evaluation.frame_matches import FrameMatches

from .html_page import ProtocolFigure, ReportContent
from .thumbnails import Paint, draw_thumbnails

Records = Mapping[tuple[str, float], dict]

_PROTOCOL_REMARKS = {
    "official": "official script of March 2019: the 50 best rows of a key frame count",
    "official_2018": "official script of April 2018: all rows count",
    "official_2020": "official script of May 2020: as 2019, but only on listed key frames",
    "act": "ACT, MOC: pixels counted inclusively, straight lines between the points of the curve",
    "voc": "PASCAL VOC, MultiSports: envelope of the curve",
}
# The errors of action tubes are analysed under the protocol whose matches error_kinds knows.
_ANALYSED = "voc"


def ava_report_content(
    groundtruth: AVAGroundtruth,
    predictions: AVATable,
    protocol: str,
    *,
    title: str,
    records: Records | None = None,
    paint: Paint | None = None,
) -> ReportContent:
    """Evaluate under all protocols and analyses the errors under one.

    Args:
        groundtruth: Read in the format of ``protocol``.
        predictions: Read in the format of ``protocol``.
        protocol: Key of ``AVA_PROTOCOLS``.
        title: Heading of the report.
        records: Dataset dict of each (video id, seconds) for the thumbnails; None: no thumbnails.
        paint: see :func:`~tubedet.evaluation.report.thumbnails.draw_thumbnails`.

    Returns:
        ReportContent: for :func:`tubedet.evaluation.report.html_page.write_html_report`.

    Raises:
        ValueError: Predictions and ground truth do not belong together.
    """
    figures, matches = [], None
    for name, rules in AVA_PROTOCOLS.items():
        value, remark = math.nan, _PROTOCOL_REMARKS[name]
        exclusions = () if rules.ava_kinetics else groundtruth.exclusions
        try:
            of_protocol = match_ava(
                groundtruth.table, predictions, groundtruth.label_map, exclusions, name
            )
            value = ava_result(of_protocol, groundtruth.label_map, name).mean_ap
            if name == protocol:
                matches = of_protocol
        except AnnotationError as error:
            if name == protocol:
                raise
            remark = f"cannot evaluate these files: {error}"
        figures.append(ProtocolFigure("frame-mAP@0.5", name, value, remark, name == protocol))
    rule = (
        f"All below follows protocol {protocol}: a detection is right if the person it overlaps "
        "most, among those who do the action, is overlapped by half (IoU 0.5) and not yet detected."
    )
    assert matches is not None  # the protocol is one of them
    return _content(matches, figures, title, rule, records, paint)


def action_tube_report_content(
    groundtruth: ActionTubeGroundtruth,
    predictions: AVATable,
    protocol: str,
    *,
    title: str,
    records: Records | None = None,
    paint: Paint | None = None,
) -> ReportContent:
    """Evaluate under both protocols and analyses the errors of the frames under "voc".

    Args:
        groundtruth: The annotated tubes.
        predictions: Detections with frame numbers as timestamps.
        protocol: Key of ``TUBE_PROTOCOLS``, marked in the report.
        title: Heading of the report.
        records: Dataset dict of each (video id, frame number) for the thumbnails; None: no
            thumbnails.
        paint: see :func:`~tubedet.evaluation.report.thumbnails.draw_thumbnails`.

    Returns:
        ReportContent: for :func:`tubedet.evaluation.report.html_page.write_html_report`.

    Raises:
        ValueError: Predictions and ground truth do not belong together.
    """
    figures, class_aps = [], {}
    for name in TUBE_PROTOCOLS:
        result = evaluate_action_tubes(groundtruth, predictions, name)
        chosen = name == protocol
        if chosen:
            if name != _ANALYSED:
                class_aps[f"frame-AP ({name})"] = result.frame_ap
            class_aps[f"video-AP@0.5 ({name})"] = result.video_ap["0.5"]
        figures.append(
            ProtocolFigure("frame-mAP@0.5", name, result.frame_map, _PROTOCOL_REMARKS[name], chosen)
        )
        figures += [
            ProtocolFigure(f"video-mAP@{ious}", name, value, chosen=chosen)
            for ious, value in result.video_map.items()
        ]
    rule = (
        f"All below is about single frames and follows protocol {_ANALYSED}, unless a heading "
        "names another one: a detection is right if the person it overlaps most, among those who "
        "do the action, is overlapped by half (IoU 0.5) and not yet detected."
    )
    matches = match_action_tubes(groundtruth, predictions, _ANALYSED)
    content = _content(matches, figures, title, rule, records, paint)
    return replace(content, ap_name=f"frame-AP ({_ANALYSED})", class_aps=class_aps)


def with_intervals(content: ReportContent, comparison: Comparison, place: int = 0) -> ReportContent:
    """Put the intervals of a bootstrap beside the figures of the chosen protocol.

    Args:
        content: Of one file.
        comparison: With that file.
        place: Of the file in the comparison.

    Returns:
        ReportContent: as it was if there are no intervals.
    """
    # The report is about one IoU and leaves its name out.
    intervals = {
        metric.removesuffix("IOU"): interval_text(entries[place].interval)
        for metric, entries in comparison.resampled.items()
    }
    figures = [
        replace(figure, interval=intervals.get(figure.metric, "") if figure.chosen else "")
        for figure in content.protocol_figures
    ]
    return replace(content, protocol_figures=figures, interval_note=comparison.interval_note)


def _content(
    matches: FrameMatches,
    figures: list[ProtocolFigure],
    title: str,
    rule: str,
    records: Records | None,
    paint: Paint | None,
) -> ReportContent:
    analysis = analyse_errors(matches)
    records = records or {}
    facts = [
        ("ground truth", matches.groundtruth.source),
        ("predictions", matches.predictions.source),
        ("key frames", f"{matches.num_key_frames:,}"),
        ("ground-truth boxes", f"{len(matches.gt_rows):,}"),
        ("detections", f"{len(matches.rows):,}"),
        ("classes", f"{len(analysis.classes)} of {len(matches.class_names)} with ground truth"),
    ]
    if paint is not None:
        facts.append(("red in the pictures", paint.meaning))
    # At once, so that no video is opened, or warned of, twice.
    examples = [*analysis.false_positives, *analysis.missed]
    pictures = draw_thumbnails(examples, records, paint=paint)
    return ReportContent(
        title=title,
        facts=facts,
        protocol_figures=figures,
        analysis=analysis,
        rule=rule,
        false_positive_pictures=pictures[: len(analysis.false_positives)],
        missed_pictures=pictures[len(analysis.false_positives) :],
    )
