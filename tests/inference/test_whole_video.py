import json
import logging
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from numbered_videos import damage_packets, numbered_frame, read_numbers, write_video
from recording_detector import CountingSource, recording_detector

from tubedet.data import VideoError
from tubedet.data.video.sources import open_frame_source
from tubedet.errors import UserError
from tubedet.inference import (
    VideoOutputs,
    VideoResult,
    action_names_of,
    write_video_results,
)

NAMES = ["stand", "walk", "sit"]


@pytest.fixture
def detector(cfg):
    """One person in the corner; every score is the time of the key frame."""
    detector, _ = recording_detector(cfg)
    detector.action_names = NAMES
    return detector


@pytest.fixture
def result(detector, film):
    return detector.detect(film, smoothing=0.0)


def test_it_is_a_sequence_of_results(detector, film, result):
    assert repr(result) == "VideoResult('film', 5 key frames, 0.000 to 4.000 s, 1 person)"
    assert [key_frame.index for key_frame in result] == list(range(len(result))) == [*range(5)]
    assert result.times.tolist() == [0, 1, 2, 3, 4] and result.action_names == tuple(NAMES)
    assert result[-1] is result.at(4.9) and result.at(1.4) is result.at(1.0) is result[1]
    assert result.at(1.5) is result[1]  # as near as the next one
    assert result.between(1.0, 3.0).times.tolist() == result[1:3].times.tolist() == [1, 2]
    assert isinstance(result[1:3], VideoResult) and len(result[9:]) == 0
    with pytest.raises(TypeError, match=r"at\(1\.5\)"):
        result[1.5]
    with pytest.raises(UserError, match=r"film: no key frame near 9 s: there are from 0 to 4 s"):
        result.at(9)
    with pytest.raises(UserError, match="there are none at all"):
        result[9:].at(0)
    assert repr(result[9:]) == "VideoResult('film', 0 key frames, 0 persons)"
    assert result[9:].to_json() == "[]" and "<img" not in result[9:]._repr_html_()


def test_results_one_by_one_stay_as_they_are_and_have_names(cfg, detector, film):
    """What was written before there was a VideoResult."""
    results = []
    for result in detector(film, images=True):
        results.append(result)
    assert [r.time for r in results] == [0, 1, 2, 3, 4]
    assert not results[0].instances.has("person_ids") and results[0].action_names == tuple(NAMES)
    assert read_numbers(np.stack([r.image for r in results])) == [0, 30, 60, 90, 120]
    assert recording_detector(cfg)[0].action_names == action_names_of(cfg)
    assert len(action_names_of(cfg)) == 80


def test_persons_are_those_of_the_files(detector, film, tmp_path):
    """Followed, smoothed and rounded alike."""
    path = tmp_path / "film.jsonl"
    outputs = VideoOutputs(json_lines=path)
    part = {"every": 0.5, "start": 0.4, "end": 3.0}
    write_video_results(detector, film, outputs, action_names=NAMES, **part)
    times = []
    result = detector.detect(film, **part, progress=times.append)
    assert result.to_json(lines=True) == path.read_text() and len(result) == 5
    assert json.loads(result.to_json()) == [json.loads(x) for x in path.read_text().splitlines()]
    assert times == [0.5, 1.0, 1.5, 2.0, 2.5]
    (track,) = result.tracks()
    assert track.scores.tolist() == [1.0] * 5 and track.times.tolist() == times
    # From 0.5 on, exp(-0.5) of the old average stays.
    smoothed = 0.5 * np.exp(-0.5) + 1.0 * (1 - np.exp(-0.5))
    assert track.action_scores[1] == pytest.approx([smoothed] * 3)
    assert len(detector.detect(film, person_threshold=1.0).person_ids) == 1
    rows = [row for key_frame in result for row in key_frame.to_rows()]
    assert len(rows) == 15 and rows[-1]["person_id"] == 0


def test_it_holds_no_frame_and_reads_the_right_one_again(detector, film, result):
    source = CountingSource(60)
    assert len(detector.detect(source)) == 6 and source.alive == 0
    assert all(key_frame.image is None for key_frame in result)
    again = [key_frame.read_image() for key_frame in result]
    shown = [key_frame.image for key_frame in detector(film, images=True)]
    assert read_numbers(np.stack(again)) == [0, 30, 60, 90, 120]
    np.testing.assert_array_equal(again, shown)
    copy = pickle.loads(pickle.dumps(result))
    assert repr(copy) == repr(result) and "<img" in copy._repr_html_()
    np.testing.assert_array_equal(copy.at(2).plot(), result[2].plot())


def test_frames_of_a_folder_are_read_at_its_rate(tmp_path, detector):
    for number in range(25):
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), numbered_frame(number))
    with open_frame_source(tmp_path, fps=12) as source:
        result = detector.detect(source)
    assert read_numbers(np.stack([r.read_image() for r in result])) == [0, 12, 24]


def test_a_missing_or_changed_video_is_one_line(detector, film, result):
    Path(film).unlink()
    with pytest.raises(VideoError, match="film.mp4") as error:
        result[2].plot()
    assert "\n" not in str(error.value) and "No such file" in str(error.value)
    assert "No picture: " in result._repr_html_() and "#0" in result._repr_html_()
    write_video(film, 123, size=(96, 128))
    with pytest.raises(VideoError, match="frames of 128x96 pixels now, but the result is of 64x48"):
        result[2].plot()
    with open_frame_source(np.zeros((5, 8, 8, 3), np.uint8), fps=10) as source:
        of_program = detector.detect(source)
    with pytest.raises(VideoError, match="frames: no file .* give the picture as image="):
        of_program[0].plot()
    assert of_program[0].plot(np.zeros((8, 8, 3), np.uint8)).shape == (320, 320, 3)


def test_damage_is_logged(detector, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    path = write_video(tmp_path / "v.mp4", 45, rate=15, gop=1)
    damage_packets(path, range(20, 30))
    assert len(detector.detect(path)) == 3
    assert f"{path}: 10 of about 45 frames are damaged and left out" in caplog.messages


def test_the_plot_has_a_row_for_each_person_and_action(result):
    axes = Figure().add_subplot()
    assert result.plot(axes, score_threshold=2.0) is axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"#0 {n}" for n in NAMES]
    (bars, *_) = axes.collections
    spans = [path.get_extents().intervalx.tolist() for path in bars.get_paths()]
    assert spans == [[1.5, 2.5], [2.5, 3.5], [3.5, 4.1]] and len(axes.collections) == 3
    assert len(result.plot(Figure().add_subplot(), max_rows=2).get_yticks()) == 2
    assert len(result.plot(Figure().add_subplot(), score_threshold=9.0).get_yticks()) == 0


def test_the_toy_model_and_random_weights_are_named(detector, film):
    def plots():
        result = detector.detect(film, smoothing=0, end=2)
        axes = result.plot(Figure().add_subplot())
        return result[1].plot(), axes.get_title()

    plain, title = plots()
    detector.model.trained_on = ["ava_toy_train"]
    toy, toy_title = plots()
    detector.model.has_random_weights = True
    random, random_title = plots()
    assert title == "film" and toy_title == "film (toy model: for testing only)"
    assert random_title == "film (random weights: detections are meaningless)"
    assert (toy != plain).any() and (random != plain).any() and (random != toy).any()


def test_a_notebook_shows_the_key_frame_with_most_and_the_persons(result):
    shown = result._repr_html_()
    assert "film: 5 key frames from 0.0 to 4.0 s, 1 person<" in shown
    assert "Key frame at 1.000 seconds" in shown  # nothing has a score of 0.5 at 0 s
    assert "<td>#0</td><td>0.0 to 4.0</td><td>5</td><td>stand 4.00, walk 4.00, sit 4.00" in shown
