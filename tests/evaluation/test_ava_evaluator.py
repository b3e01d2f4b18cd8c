"""AVAEvaluator inside detectron2's evaluation protocol."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ava_files import evaluate_files
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances

from tubedet.data.annotations.ava_csv import AnnotationError, read_ava_csv
from tubedet.errors import UserError
from tubedet.evaluation import AVAEvaluator

ROOT = Path(__file__).parents[2]
LABEL_MAP = 'item {\n  name: "bend/bow"\n  id: 1\n}\nitem {\n  name: "sit"\n  id: 3\n}\n'
GROUNDTRUTH = """\
b,0902,0.1,0.2,0.5,0.8,3,0
b,0902,0.5,0.1,0.9,0.9,1,1
b,0903,0.1,0.2,0.5,0.8,3,0
a,0902,0.1,0.2,0.5,0.8,3,0
a,0950,0.1,0.2,0.5,0.8,3,0
"""
PERSON = (0.1, 0.2, 0.5, 0.8)
OTHER = (0.5, 0.1, 0.9, 0.9)


@pytest.fixture
def dataset(tmp_path):
    """A registered data set: video b seconds 902 and 903, video a second 902; a,950 is excluded."""
    name = "evaluator_test"
    for file, text in (
        ("gt.csv", GROUNDTRUTH),
        ("map.pbtxt", LABEL_MAP),
        ("excluded.csv", "a,0950\n"),
    ):
        (tmp_path / file).write_text(text)
    MetadataCatalog.get(name).set(
        groundtruth_csv=str(tmp_path / "gt.csv"),
        label_map=str(tmp_path / "map.pbtxt"),
        exclusions_csv=str(tmp_path / "excluded.csv"),
    )
    yield name
    MetadataCatalog.remove(name)


def key_frame(video_id, timestamp, width=200, height=100):
    return {"video_id": video_id, "timestamp": timestamp, "width": width, "height": height}


def output(boxes, scores, width=200, height=100):
    """Boxes as fractions; scores of action ids 1, 2, 3."""
    instances = Instances((height, width))
    size = torch.tensor([width, height, width, height])
    instances.pred_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4) * size)
    instances.action_scores = torch.tensor(scores).reshape(len(boxes), -1)
    return {"instances": instances}


def process_all(evaluator):
    evaluator.process(
        [key_frame("b", 903.0), key_frame("b", 902)],
        [
            output([OTHER, PERSON], [[0.0, 0.9, 0.8], [0.0, 0.9, 0.6]]),
            output([PERSON, OTHER], [[0.0, 0.0, 0.9], [0.7, 0.0, 0.0]]),
        ],
    )
    evaluator.process([key_frame("a", 902.0, 64, 48)], [output([PERSON], [[0, 0, 0.4]], 64, 48)])


def test_figures_files_and_table(dataset, tmp_path, caplog):
    folder = tmp_path / "with space" / "output"
    evaluator = AVAEvaluator(dataset, folder)
    process_all(evaluator)
    with caplog.at_level(logging.INFO):
        results = evaluator.evaluate()

    # sit: hits at 0.9, 0.6 and 0.4, a false positive at 0.8, three boxes (a,950 is excluded).
    sit = (1 + 3 / 4 + 3 / 4) / 3
    figures = results["frame_ap"]
    assert figures == pytest.approx(
        {"mAP@0.5IOU": 100 * (1 + sit) / 2, "AP-bend/bow": 100.0, "AP-sit": 100 * sit}
    )
    csv = folder / f"{dataset}_predictions.csv"
    rows = csv.read_text().splitlines()
    assert [float(cell) for cell in rows[0].split(",")[2:]] == pytest.approx(
        [*PERSON, 3, 0.4], abs=1e-7
    )
    assert [row.split(",")[0:2] + row.split(",")[6:7] for row in rows] == [
        ["a", "0902", "3"],
        ["b", "0902", "3"],
        ["b", "0902", "1"],
        ["b", "0903", "3"],
        ["b", "0903", "3"],
    ]
    stored = json.loads((folder / f"{dataset}_results.json").read_text())
    assert stored["protocol"] == "official"
    assert stored["mAP@0.5IOU"] == pytest.approx(figures["mAP@0.5IOU"] / 100)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{dataset}_predictions.csv",
        f"{dataset}_results.json",
    ]
    assert "protocol official" in caplog.text
    assert "3 key frames, 4 ground-truth boxes" in caplog.text
    assert "| bend/bow" in caplog.text

    metadata = MetadataCatalog.get(dataset)
    rescored = evaluate_files(
        metadata.groundtruth_csv, csv, metadata.label_map, metadata.exclusions_csv
    )
    assert rescored.mean_ap == stored["mAP@0.5IOU"]
    assert rescored.per_class == stored["per_class"]


def test_without_output_folder_the_figures_are_the_same(dataset, tmp_path):
    in_memory, on_disk = AVAEvaluator(dataset), AVAEvaluator(dataset, tmp_path / "output")
    for evaluator in (in_memory, on_disk):
        process_all(evaluator)
    assert in_memory.evaluate() == on_disk.evaluate()


def test_close_scores_stay_apart_in_the_csv(dataset, tmp_path):
    tiny = torch.tensor(1e-12)
    scores = [0.0, 0.0, torch.nextafter(tiny, torch.tensor(1.0)).item(), 0.0, 0.0, tiny.item()]
    evaluator = AVAEvaluator(dataset, tmp_path)
    evaluator.process([key_frame("b", 902)], [output([PERSON, OTHER], scores)])
    evaluator.evaluate()
    written = read_ava_csv(tmp_path / f"{dataset}_predictions.csv").scores
    assert written.astype("float32").tolist() == [scores[2], scores[5]]


def test_nothing_predicted_scores_zero(dataset, caplog):
    evaluator = AVAEvaluator(dataset)
    zero = {"mAP@0.5IOU": 0.0, "AP-bend/bow": 0.0, "AP-sit": 0.0}
    assert evaluator.evaluate()["frame_ap"] == zero
    assert "3 of 3 annotated key frames" in caplog.text
    caplog.clear()
    process_all(evaluator)
    assert evaluator.evaluate()["frame_ap"]["AP-bend/bow"] == 100.0
    assert not caplog.records
    evaluator.reset()
    assert evaluator.evaluate()["frame_ap"] == zero


def test_key_frame_processed_twice_is_an_error(dataset, tmp_path):
    evaluator = AVAEvaluator(dataset, tmp_path / "output")
    process_all(evaluator)
    process_all(evaluator)
    with pytest.raises(ValueError, match="key frame 0902 of video 'a' .* processed twice"):
        evaluator.evaluate()
    assert not (tmp_path / "output").exists()


def test_predictions_that_are_not_finite_are_left_out_and_counted(dataset, caplog):
    evaluator = AVAEvaluator(dataset)
    nan = float("nan")
    boxes = [PERSON, OTHER, (nan, 0.0, 1.0, 1.0)]
    scores = [[0.0, 0.0, 0.5], [nan, 0.0, 0.9], [0.9, 0.0, 0.9]]
    evaluator.process([key_frame("b", 902)], [output(boxes, scores)])
    assert evaluator.evaluate()["frame_ap"]["AP-sit"] == pytest.approx(100 / 3)
    assert "2 boxes with NaN" in caplog.text


def test_unusable_input_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match="unknown AVA protocol"):
        AVAEvaluator(dataset, protocol="official_2017")
    evaluator = AVAEvaluator(dataset)
    with pytest.raises(ValueError, match="whole seconds only"):
        evaluator.process([key_frame("b", 902.5)], [output([PERSON], [0.0, 0.0, 1.0])])
    narrow = output([PERSON], [0.0, 0.0, 1.0])
    narrow["instances"].action_scores = torch.ones(1, 2)
    with pytest.raises(ValueError, match="2 action scores per box, .* action id 3"):
        evaluator.process([key_frame("b", 902)], [narrow])
    (tmp_path / "gt.csv").write_text("b,0902\n")
    with pytest.raises(AnnotationError, match=r"gt\.csv:1: 2 columns"):
        AVAEvaluator(dataset)


def test_protocol_of_2020_has_fractions_and_no_exclusions(dataset, tmp_path):
    (tmp_path / "gt.csv").write_text("b,902.5,0.1,0.2,0.5,0.8,3\nb,0904\n")
    (tmp_path / "excluded.csv").write_text("b,0904\n")
    evaluator = AVAEvaluator(dataset, tmp_path, protocol="official_2020")
    evaluator.process(
        [key_frame("b", 902.5), key_frame("b", 904.0), key_frame("b", 905.0)],
        [
            output([PERSON], [0.0, 0.0, 0.5]),
            output([PERSON], [0.0, 0.0, 0.6]),  # a false positive on an empty key frame
            output([PERSON], [0.0, 0.0, 0.9]),  # not listed: ignored
        ],
    )
    assert evaluator.evaluate()["frame_ap"] == {"mAP@0.5IOU": 50.0, "AP-sit": 50.0}
    first = (tmp_path / f"{dataset}_predictions.csv").read_text().splitlines()[0]
    assert first.startswith("b,902.5,")


def test_two_processes_give_the_figures_and_the_file_of_one(tmp_path):
    (tmp_path / "gt.csv").write_text(GROUNDTRUTH + "c,0904,0.2,0.2,0.4,0.5,1,0\n")
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    script = Path(__file__).with_name("sharded_evaluation.py")
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    processes = [
        subprocess.Popen([sys.executable, script, str(rank), "2", tmp_path], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=900) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    results = json.loads((tmp_path / "results_0.json").read_text())
    assert results["shards"] == results["alone"]
    assert results["shards"]["frame_ap"]["mAP@0.5IOU"] > 0
    assert json.loads((tmp_path / "results_1.json").read_text()) == {"shards": {}}
    for name in ("sharded_predictions.csv", "sharded_results.json"):
        together = (tmp_path / "shards" / name).read_bytes()
        assert together == (tmp_path / "alone" / name).read_bytes()
    assert len(read_ava_csv(tmp_path / "shards" / "sharded_predictions.csv")) == 9 * 7 * 2


def test_a_person_detector_is_held_against_every_box_once(dataset):
    evaluator = AVAEvaluator(dataset, person_only=True)
    evaluator.process(
        [key_frame("b", 903.0), key_frame("b", 902)],
        [output([OTHER, PERSON], [[0.7], [0.9]]), output([PERSON, OTHER], [[0.8], [0.6]])],
    )
    (figures,) = evaluator.evaluate().values()
    # Hits at 0.9, 0.8 and 0.6, a false positive at 0.7, four persons.
    ap = 100 * (1 + 1 + 3 / 4) / 4
    assert figures == pytest.approx({"mAP@0.5IOU": ap, "AP-person": ap})


def test_what_would_stop_the_evaluation_stops_its_start(dataset, tmp_path):
    (tmp_path / "gt.csv").write_text(GROUNDTRUTH + "c,0902,0.5,0.2,0.1,0.8,3,0\n")
    with pytest.raises(AnnotationError, match=r"gt\.csv:6: inverted ground-truth box"):
        AVAEvaluator(dataset)
    # What does not count may be wrong.
    for row in ("c,0902,0.5,0.2,0.1,0.8,7,0\n", "a,0950,0.5,0.2,0.1,0.8,3,0\n"):
        (tmp_path / "gt.csv").write_text(GROUNDTRUTH + row)
        AVAEvaluator(dataset)
    MetadataCatalog.get(dataset).set(action_names=["bend/bow", "stand"])
    with pytest.raises(UserError, match="action id 3 is to be evaluated, but .* has 2 actions"):
        AVAEvaluator(dataset)
    AVAEvaluator(dataset, person_only=True)


def test_rows_that_count(dataset, tmp_path):
    assert AVAEvaluator(dataset).counted_groundtruth().lines.tolist() == [1, 2, 3, 4]
    (tmp_path / "gt.csv").write_text("a,0950,0.1,0.2,0.5,0.8,3,0\na,0902,0.1,0.2,0.5,0.8,2,0\n")
    assert len(AVAEvaluator(dataset).counted_groundtruth()) == 0


def test_a_model_that_finds_other_classes_only_scores_zero(dataset):
    """An evaluation of files is stopped then, a training must go on."""
    evaluator = AVAEvaluator(dataset)
    evaluator.process([key_frame("a", 950.0)], [output([PERSON], [[0.5, 0.0, 0.0]])])
    evaluator.process([key_frame("b", 903.0)], [output([[7, 8, 9, 10]], [[0.9, 0.0, 0.0]])])
    assert evaluator.evaluate()["frame_ap"]["mAP@0.5IOU"] == 0


def test_of_a_sample_only_its_key_frames_count(dataset, caplog):
    """Whatever is not processed is not missed, and the figures are those of the rest alone."""
    sampled = AVAEvaluator(dataset, sampled=True)
    whole = AVAEvaluator(dataset)
    for evaluator in (sampled, whole):
        # Key frame b,902: sit is found at 0.9, and bend/bow at 0.7 beside.
        detections = output([PERSON, OTHER], [[0.0, 0.0, 0.9], [0.7, 0.0, 0.0]])
        evaluator.process([key_frame("b", 902)], [detections])
    with caplog.at_level(logging.INFO):
        figures = sampled.evaluate()["frame_ap"]
    assert figures["AP-sit"] == pytest.approx(100)
    assert "1 key frames" in caplog.text and "count as missed" not in caplog.text
    with caplog.at_level(logging.WARNING):
        assert whole.evaluate()["frame_ap"]["AP-sit"] == pytest.approx(100 / 3)
    assert "2 of 3 annotated key frames" in caplog.text


def test_a_sample_of_all_key_frames_has_the_figures_of_all(dataset):
    evaluators = [AVAEvaluator(dataset, sampled=sampled) for sampled in (False, True)]
    for evaluator in evaluators:
        process_all(evaluator)
    assert evaluators[0].evaluate() == evaluators[1].evaluate()


def test_a_sample_without_ground_truth_has_no_figures(dataset, caplog):
    evaluator = AVAEvaluator(dataset, sampled=True)
    evaluator.process([key_frame("z", 902)], [output([PERSON], [[0.0, 0.0, 0.9]])])
    with caplog.at_level(logging.WARNING):
        assert evaluator.evaluate() == {}
    assert "No figures of 1 key frames: " in caplog.text
