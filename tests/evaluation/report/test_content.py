"""What goes into the report of a prediction file."""

import math
from pathlib import Path

import pytest
from ava_files import evaluate_files

from tubedet.data.annotations.ava_csv import AnnotationError, parse_ava_csv, read_ava_csv
from tubedet.evaluation.ava_groundtruth import AVAGroundtruth, read_ava_groundtruth
from tubedet.evaluation.ava_protocol import AVA_PROTOCOLS
from tubedet.evaluation.report.content import ava_report_content

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ava_eval"


def files_of(case):
    folder = FIXTURES / "cases" / case
    return folder / "gt.csv", FIXTURES / "labelmap60.pbtxt", folder / "excl.csv"


@pytest.mark.parametrize("case", ["cap50", "empty_keyframe", "excluded", "empty_pred"])
def test_figures_are_those_of_each_protocol(case):
    truth, label_map, excluded = files_of(case)
    predictions = truth.with_name("det.csv")
    content = ava_report_content(
        read_ava_groundtruth(truth, label_map, excluded, ava_kinetics=False),
        read_ava_csv(predictions),
        "official_2018",
        title=case,
    )
    figures = {figure.protocol: figure for figure in content.protocol_figures}
    assert [name for name, figure in figures.items() if figure.chosen] == ["official_2018"]
    for protocol in AVA_PROTOCOLS:
        result = evaluate_files(truth, predictions, label_map, excluded, protocol)
        assert figures[protocol].value == result.mean_ap
        if protocol == "official_2018":
            facts = dict(content.facts)
            assert facts["detections"] == f"{result.num_detections:,}"
            aps = {c.name: c.average_precision for c in content.analysis.classes}
            assert aps == {n: ap for n, ap in result.per_class.items() if not math.isnan(ap)}
    assert "official_2018" in content.rule
    assert content.missed_pictures == [None] * len(content.analysis.missed)


def test_a_protocol_that_cannot_read_the_times_is_left_open():
    table = parse_ava_csv(["film,902.5,0,0,1,1,11"], source="truth", ava_kinetics=True)
    content = ava_report_content(
        AVAGroundtruth(table, {11: "sit"}), table, "official_2020", title="half seconds"
    )
    values = [figure.value for figure in content.protocol_figures]
    assert math.isnan(values[0]) and math.isnan(values[1]) and values[2] == 1.0
    assert "not a whole second" in content.protocol_figures[0].remark
    with pytest.raises(AnnotationError, match="not a whole second"):
        ava_report_content(AVAGroundtruth(table, {11: "sit"}), table, "official", title="")


def test_a_video_that_cannot_be_read_is_told_once(caplog):
    truth = parse_ava_csv(["film,902,0,0,0.4,1,11"], source="truth")
    found = parse_ava_csv(["film,902,0.5,0,1,1,11,0.9"], source="found")
    record = {"video": "absent.mp4", "fps": 30.0, "timestamp": 902.0, "start_second": 900.0}
    content = ava_report_content(
        AVAGroundtruth(truth, {11: "sit"}),
        found,
        "official",
        title="no video",
        records={("film", 902.0): record},
    )
    assert content.false_positive_pictures == content.missed_pictures == [None]
    assert caplog.text.count("No pictures of 1 videos") == 1
