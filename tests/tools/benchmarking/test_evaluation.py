"""Drawn annotations, and the measured evaluation of them."""

import argparse

import numpy as np
import pytest
from benchmarking import evaluation
from benchmarking.synthetic_annotations import write_annotations

from tubedet.data.annotations.ava_csv import read_ava_csv, read_label_map


def test_drawn_annotations_are_those_of_a_validation_set(tmp_path):
    paths = write_annotations(tmp_path, evaluation._LABEL_MAP, num_predictions=20_000, seed=3)
    groundtruth, predictions = map(read_ava_csv, paths)
    assert len(predictions) == 20_000
    assert 1.5 < len(groundtruth) / (20_000 / 14) < 1.7  # actions per person
    key_frames = set(zip(predictions.video_ids.tolist(), predictions.timestamps.tolist()))
    assert 1.6 < 20_000 / 14 / len(key_frames) < 2.4  # persons where there are any
    assert 902 <= predictions.timestamps.min() and predictions.timestamps.max() <= 1798
    assert set(predictions.action_ids) <= set(read_label_map(evaluation._LABEL_MAP))
    for table in (groundtruth, predictions):
        assert (table.boxes[:, 2:] > table.boxes[:, :2]).all()
        assert (0 <= table.boxes).all() and (table.boxes <= 1).all()
    texts = [path.read_text() for path in paths]
    write_annotations(tmp_path, evaluation._LABEL_MAP, num_predictions=20_000, seed=3)
    assert [path.read_text() for path in paths] == texts
    write_annotations(tmp_path, evaluation._LABEL_MAP, num_predictions=20_000, seed=4)
    assert paths[1].read_text() != texts[1]


def test_phases_of_the_evaluation(in_this_process):
    in_this_process(evaluation)
    parser = argparse.ArgumentParser()
    parser.set_defaults(seed=0, repeats=2)
    evaluation.add_arguments(parser)
    result = evaluation.run(parser.parse_args(["--rows", "3000"]))
    assert result["rows"]["predictions"] == 3000
    assert list(result["phases"]) == [*evaluation.PHASES, "total"]
    phases = [result["phases"][name]["wall_s"]["runs"] for name in evaluation.PHASES]
    total = result["phases"]["total"]["wall_s"]["runs"]
    assert total == pytest.approx(np.sum(phases, axis=0).tolist())
    assert 0.1 < result["mean_ap"] < 0.6
    assert 1000 < result["num_detections"] <= 3000
    text = evaluation.table(result)
    assert "3,000 of predictions" in text and "read predictions" in text
