"""Who does what from when to when, alike in Python, in the file and on the web page."""

import csv
import json
import math

import pytest
from matplotlib.figure import Figure
from recording_detector import CountingSource, recording_detector

from tubedet.inference import ActionInterval, VideoOutputs, write_video_results
from tubedet.inference.action_intervals import ActionSpan, IntervalCollector, key_frame_span
from tubedet.web.timeline import action_spans

NAMES = ["stand", 'walk, "fast"', "sit"]


@pytest.fixture
def detector(cfg):
    """One person in the corner; every score is the time of the key frame."""
    detector, _ = recording_detector(cfg)
    detector.action_names = NAMES
    return detector


@pytest.mark.parametrize(
    "time, duration, expected",
    [
        (0.0, None, (0.0, 0.5)),
        (2.0, None, (1.5, 2.5)),
        (2.0, 2.25, (1.5, 2.25)),
        (2.0, 1.0, (1.5, 2.0)),  # the file says less than it holds
    ],
)
def test_a_key_frame_stands_for_what_is_nearest(time, duration, expected):
    assert key_frame_span(time, every=1.0, duration=duration) == expected


def test_key_frames_in_a_row_are_one_interval():
    collector = IntervalCollector("film", every=0.5, duration=2.1)
    for time, score in ((0.0, 0.6), (0.5, 0.8), (1.0, 0.7), (2.0, 0.5)):
        collector.add(time, 4, "walk", score)
    collector.add(1.0, 9, "sit", 0.5)
    collector.add(1.0, 9, "stand", math.nan)
    assert collector.intervals() == [
        ("film", 4, "walk", 0.0, 1.25, 0.8),
        ("film", 9, "sit", 0.75, 1.25, 0.5),
        ("film", 4, "walk", 1.75, 2.1, 0.5),
    ]


def test_one_rule_for_python_the_file_the_plot_and_the_page(detector, film, tmp_path):
    part = {"every": 0.5, "start": 0.4}
    outputs = VideoOutputs(json_lines=tmp_path / "x.jsonl", events=tmp_path / "new" / "x.csv")
    write_video_results(
        detector, film, outputs, action_names=NAMES, confidence_threshold=2.5, smoothing=0, **part
    )
    result = detector.detect(film, score_threshold=2.5, smoothing=0, **part)
    found = result.intervals()
    assert (
        found
        == result.intervals(2.5)
        == [
            ActionInterval("film", 0, name, 2.25, pytest.approx(4.1), 4.0) for name in sorted(NAMES)
        ]
    )
    assert result.intervals(min_score=4.5) == [] and result.between(3.0, 3.4).intervals(0.1)[0][
        3:
    ] == (2.75, 3.25, 3.0)
    with outputs.events.open(newline="") as stream:
        head, *rows = csv.reader(stream)
    assert head == ["video", "person_id", "action", "start", "end", "score"]
    assert rows == [["film", "0", n, "2.250", "4.100", "4.0000"] for n in sorted(NAMES)]
    lines = [json.loads(line) for line in outputs.json_lines.read_text().splitlines()]
    on_page = action_spans(lines, every=0.5, duration=result.video.duration, threshold=2.5)
    assert on_page == {0: {x.action: [ActionSpan(x.start, x.end, x.score)] for x in found}}
    axes = result.plot(Figure().add_subplot())
    (bars, *_) = axes.collections
    ends = [path.get_extents().intervalx.tolist() for path in bars.get_paths()]
    assert (ends[0][0], ends[-1][1]) == (2.25, pytest.approx(4.1))
    assert axes.get_xlim() == (0.25, pytest.approx(4.1))


def test_a_video_without_known_duration_or_actions(detector, tmp_path):
    source = CountingSource(45)
    assert detector.detect(source, smoothing=0).intervals(3.5) == [
        ("counted", 0, name, 3.5, 4.5, 4.0) for name in sorted(NAMES)
    ]
    outputs = VideoOutputs(events=tmp_path / "x.csv")
    write_video_results(
        detector, CountingSource(9), outputs, action_names=NAMES, confidence_threshold=1
    )
    assert outputs.events.read_text() == "video,person_id,action,start,end,score\n"


def test_a_table_of_pandas(detector, film):
    pandas = pytest.importorskip("pandas")
    result = detector.detect(film, smoothing=0)
    table = result.intervals_to_dataframe(2.5)
    assert list(table.columns) == ["video", "person_id", "action", "start", "end", "score"]
    assert table.start.tolist() == [2.5] * 3 and table.action.tolist() == sorted(NAMES)
    empty = result.intervals_to_dataframe(min_score=9)
    assert isinstance(empty, pandas.DataFrame) and empty.shape == (0, 6)
