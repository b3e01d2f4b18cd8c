"""ActionTubeEvaluator inside detectron2's evaluation protocol."""

import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from tubedet.data.annotations.tube_files import ActionTube, AnnotatedVideo
from tubedet.data.datasets.action_tubes import register_action_tubes
from tubedet.evaluation import (
    ActionTubeEvaluator,
    evaluate_action_tubes,
    load_action_tube_groundtruth,
    read_tube_predictions,
)

NAME = "tube_evaluator_test"
BOX, OTHER = (10.0, 5.0, 20.0, 40.0), (60.0, 5.0, 80.0, 40.0)
FRAMES = range(1, 21)


@pytest.fixture
def dataset():
    """One video of 20 frames of 100x50 pixels: a person runs in all, another sits in 16."""
    tubes = [
        ActionTube(label, np.arange(1, n + 1), np.tile(np.float32(box), (n, 1)), label)
        for label, n, box in ((0, 20, BOX), (1, 16, OTHER))
    ]
    register_action_tubes(
        NAME,
        lambda: {"run/a": AnnotatedVideo(tubes, num_frames=20, size=(50, 100))},
        action_names=["run", "sit", "idle"],
        frames_dir="",
        videos_dir="",
        fps=30.0,
        exclusive_actions=True,
    )
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def output(boxes, scores):
    instances = Instances((50, 100))
    instances.pred_boxes = Boxes(torch.tensor(boxes))
    instances.action_scores = torch.tensor(scores)
    return {"instances": instances}


def process(evaluator, numbers=FRAMES):
    """Two queries, one for each person; the second one sees it in frames 17 to 20 too."""
    for number in numbers:
        key_frame = {"video_id": "run/a", "frame_number": number, "height": 50, "width": 100}
        scores = [[0.9, 0.004, 0.005], [0.3, 0.7 - number / 100, 0.0]]
        evaluator.process([{**key_frame, "timestamp": 0.1}], [output([BOX, OTHER], scores)])


# The tube of "sit" has 20 frames, 16 of them true: temporal IoU 16/20, or 15/19 without the +1.
@pytest.mark.parametrize("protocol, sit", [("act", 70), ("voc", 60)])
def test_figures_files_and_table(dataset, tmp_path, caplog, protocol, sit):
    evaluator = ActionTubeEvaluator(dataset, tmp_path / "out", protocol=protocol)
    process(evaluator)
    with caplog.at_level(logging.INFO):
        figures = evaluator.evaluate()
    assert list(figures) == [f"frame_ap_{protocol}", f"video_ap_{protocol}"]
    assert figures[f"frame_ap_{protocol}"] == pytest.approx(
        {"mAP@0.5IOU": 100.0, "AP-run": 100.0, "AP-sit": 100.0}
    )
    assert figures[f"video_ap_{protocol}"] == pytest.approx(
        {
            "mAP@0.2IOU": 100.0,
            "mAP@0.5IOU": 100.0,
            "mAP@0.75IOU": 100.0,
            "mAP@0.5:0.95IOU": (100 + sit) / 2,
        }
    )
    written = (tmp_path / "out" / f"{NAME}_predictions.csv").read_text().splitlines()
    assert len(written) == 20 * 3  # scores up to 0.005 are no detections
    assert [row.split(",")[:2] + row.split(",")[6:7] for row in written[:3]] == [
        ["run/a", "0001", "1"],
        ["run/a", "0001", "1"],
        ["run/a", "0001", "2"],
    ]
    assert [float(x) for x in written[0].split(",")[2:6]] == pytest.approx([0.1, 0.1, 0.2, 0.8])

    stored = json.loads((tmp_path / "out" / f"{NAME}_results.json").read_text())
    assert (stored["protocol"], stored["mAP@0.5IOU"]) == (protocol, 1.0)
    rescored = evaluate_action_tubes(
        load_action_tube_groundtruth(dataset),
        read_tube_predictions(tmp_path / "out" / f"{NAME}_predictions.csv"),
        protocol,
    )
    for ious, mean in rescored.video_map.items():
        assert stored["video"][ious]["mAP"] == mean
        assert figures[f"video_ap_{protocol}"][f"mAP@{ious}IOU"] == 100 * mean
    assert f"frame-mAP@0.5 100.00 % (protocol {protocol})" in caplog.text
    assert "20 frames, 36 ground-truth boxes in 2 tubes, 60 detections linked to" in caplog.text


def test_without_output_folder_the_figures_are_the_same(dataset, tmp_path):
    in_memory, on_disk = ActionTubeEvaluator(dataset), ActionTubeEvaluator(dataset, tmp_path)
    for evaluator in (in_memory, on_disk):
        process(evaluator)
    assert in_memory.evaluate() == on_disk.evaluate()


def test_gaps_and_repetitions_are_noticed(dataset, caplog):
    evaluator = ActionTubeEvaluator(dataset)
    process(evaluator, range(1, 16))
    assert evaluator.evaluate()["frame_ap_act"]["AP-run"] == pytest.approx(75)
    assert "5 of 20 annotated key frames" in caplog.text
    process(evaluator, [3])
    with pytest.raises(ValueError, match="key frame 0003 of video 'run/a' .* processed twice"):
        evaluator.evaluate()


def test_unusable_input_is_refused(dataset):
    with pytest.raises(ValueError, match="unknown protocol 'official'"):
        ActionTubeEvaluator(dataset, protocol="official")
    evaluator = ActionTubeEvaluator(dataset)
    key_frame = {"video_id": "run/a", "frame_number": 1, "height": 50, "width": 100}
    with pytest.raises(ValueError, match="2 action scores per box, .* action id 3"):
        evaluator.process([key_frame], [output([BOX], [[0.5, 0.5]])])


def test_a_model_that_finds_other_classes_only_scores_zero(dataset):
    """An evaluation of files is stopped then, a training must go on."""
    evaluator = ActionTubeEvaluator(dataset)
    assert len(evaluator.counted_groundtruth()) == 20 + 16
    assert set(evaluator.counted_groundtruth().action_ids.tolist()) == {1, 2}  # nobody is idle
    frame = {"video_id": "run/a", "frame_number": 3, "height": 50, "width": 100, "timestamp": 0.1}
    evaluator.process([frame], [output([BOX], [[0.004, 0.0, 0.9]])])
    assert evaluator.evaluate()["frame_ap_act"]["mAP@0.5IOU"] == 0


def test_a_sample_of_frames_has_a_frame_map_only(dataset, caplog):
    """Frames 17 to 20 show one person; the other one is found in 17 and 19, too."""
    evaluator = ActionTubeEvaluator(dataset, sampled=True)
    process(evaluator, [1, 16, 17, 19])
    with caplog.at_level(logging.INFO):
        results = evaluator.evaluate()
    # sit: 0.69 and 0.54 are right, 0.53 and 0.51 are wrong; of the 16 frames two are sampled.
    assert results == {
        "frame_ap_act": pytest.approx({"mAP@0.5IOU": 100.0, "AP-run": 100.0, "AP-sit": 100.0})
    }
    assert f"Evaluation of 4 frames of {dataset}: frame-mAP@0.5IOU 100.00 %" in caplog.text


def test_all_frames_as_a_sample_have_the_figures_of_all(dataset):
    evaluators = [ActionTubeEvaluator(dataset, sampled=sampled) for sampled in (False, True)]
    for evaluator in evaluators:
        process(evaluator)
    whole, sampled = (evaluator.evaluate() for evaluator in evaluators)
    assert whole == sampled and "video_ap_act" in sampled


def test_tubes_of_the_best_class_of_sure_persons(dataset, tmp_path):
    """Two queries for the runner, the second unsure of a person; a third sits a little, too."""
    boxes, scores = [BOX, BOX, OTHER], [[0.5, 0.4, 0], [0.6, 0.2, 0], [0.2, 0.3, 0]]
    figures, persons = {}, torch.tensor([0.7, 0.69, 0.9])
    rules = {"all": {}, "best": {"tube_classes": "best", "tube_person_thresh": 0.7}}
    for name, rule in rules.items():
        evaluator = ActionTubeEvaluator(dataset, tmp_path / name, **rule)
        for number in FRAMES:
            frame = {"video_id": "run/a", "frame_number": number, "height": 50, "width": 100}
            found = output(boxes, scores)
            found["instances"].scores = persons
            evaluator.process([{**frame, "timestamp": 0.1}], [found])
        figures[name] = evaluator.evaluate()
    assert figures["all"]["frame_ap_act"] == figures["best"]["frame_ap_act"]
    path = tmp_path / "best" / f"{NAME}_linked_predictions.csv"
    linked = read_tube_predictions(path)
    assert linked.action_ids.tolist() == [1, 2] * 20  # of the first query, and of the third
    np.testing.assert_allclose(linked.scores, [0.5, 0.3] * 20, rtol=1e-6)
    stored = json.loads((tmp_path / "best" / f"{NAME}_results.json").read_text())
    assert stored["video"]["0.5"]["mAP"] == 1.0
    assert figures["best"]["video_ap_act"]["mAP@0.5IOU"] == 100.0
    # Of all pairs, sitting at the runner's place (0.4) is a better tube than that of the sitter.
    assert figures["all"]["video_ap_act"]["mAP@0.5IOU"] < 90
    assert not list((tmp_path / "all").glob("*linked*"))


def test_rules_for_tubes_that_make_no_sense_are_one_line(dataset):
    with pytest.raises(ValueError, match=r"TEST\.TUBE_CLASSES is 'some'; choose one of"):
        ActionTubeEvaluator(dataset, tube_classes="some")
    with pytest.raises(ValueError, match=r"TEST\.TUBE_PERSON_THRESH is 7; give a number from 0"):
        ActionTubeEvaluator(dataset, tube_person_thresh=7)
    unsure = ActionTubeEvaluator(dataset, tube_person_thresh=0.95)
    frame = {"video_id": "run/a", "frame_number": 3, "height": 50, "width": 100, "timestamp": 0.1}
    found = output([BOX], [[0.9, 0.0, 0.0]])
    found["instances"].scores = torch.tensor([0.9])
    unsure.process([frame], [found])
    figures = unsure.evaluate()
    assert figures["video_ap_act"]["mAP@0.2IOU"] == 0 and figures["frame_ap_act"]["AP-run"] > 0
