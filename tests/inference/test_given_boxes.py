"""Detection in a video on person boxes that are given."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from numbered_videos import read_numbers

from tubedet.data.person_boxes import read_person_boxes
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference import VideoActionDetector, VideoOutputs, write_video_results

CLIPS = Path(__file__).resolve().parents[2] / "../shared/data/clips"
CONFIG = "configs/quick_schedules/RoI_toy.yaml"
# Two tracks in pixels of 64x48 at 30 frames a second: one moves 8 pixels a second, one stands.
TRACKS = "".join(
    f"{frame},7,{4 + 8 * (frame - 1) / 30},4,16,32,0.875,-1,-1,-1\n"
    f"{frame},9,40,8,16,24,1,-1,-1,-1\n"
    for frame in range(1, 124, 15)
)


@pytest.fixture
def roi_cfg():
    return load_config(CONFIG, ["MODEL.DEVICE", "cpu"])


@pytest.fixture
def roi_model(roi_cfg):
    torch.manual_seed(1)
    return build_model(roi_cfg).eval()


@pytest.fixture
def tracks(tmp_path):
    path = tmp_path / "tracks.txt"
    path.write_text(TRACKS)
    return path


def test_results_have_the_boxes_scores_and_tracks_of_the_file(film, roi_cfg, roi_model, tracks):
    detector = VideoActionDetector(
        roi_cfg, model=roi_model, person_boxes=read_person_boxes(tracks), batch_size=2
    )
    results = list(detector(film, every=1.0))
    assert [result.time for result in results] == [0, 1, 2, 3, 4]
    for result in results:
        left = 4 + 8 * result.time
        boxes = result.instances.pred_boxes.tensor
        expected = [[left, 4, left + 16, 36], [40, 8, 56, 32]]
        torch.testing.assert_close(boxes, torch.tensor(expected), atol=1e-4, rtol=0)
        assert result.instances.scores.tolist() == [0.875, 1.0]
        assert result.instances.person_ids.tolist() == [7, 9]
        assert result.instances.action_scores.shape == (2, 80)


def test_tracks_keep_their_numbers_in_the_files(film, roi_cfg, roi_model, tracks, tmp_path):
    detector = VideoActionDetector(roi_cfg, model=roi_model, person_boxes=read_person_boxes(tracks))
    names = [f"action {k}" for k in range(1, 81)]
    outputs = VideoOutputs(json_lines=tmp_path / "film.jsonl", predictions=tmp_path / "film.csv")
    summary = write_video_results(detector, film, outputs, action_names=names)
    lines = [json.loads(line) for line in (tmp_path / "film.jsonl").read_text().splitlines()]
    assert [[person["id"] for person in line["persons"]] for line in lines] == [[7, 9]] * 5
    assert summary.num_persons == 2
    with open(tmp_path / "film.csv") as stream:
        rows = [row for row in csv.reader(stream) if float(row[1]) == 1]
    assert len(rows) == 160 and {float(row[2]) for row in rows} == {0.1875, 0.625}
    # What was written can be given again.
    again = read_person_boxes(tmp_path / "film.jsonl")
    assert again.has_tracks and set(again.track_ids.tolist()) == {7, 9}


def test_a_function_sees_the_key_frames(film, roi_cfg, roi_model):
    seen = []

    def find(image):
        seen.append(image)
        return [[8, 4, 40, 44, 0.9], [0, 0, 20, 20, 0.1]]

    detector = VideoActionDetector(roi_cfg, model=roi_model, person_boxes=find)
    results = list(detector(film, every=2.0))
    assert read_numbers(np.stack(seen)) == [0, 60, 120]
    # The second box is below MODEL.ROI_ACTION.BOX_SCORE_THRESH.
    assert all(len(result.instances) == 1 for result in results)
    expected = torch.tensor([[8.0, 4, 40, 44]])
    torch.testing.assert_close(results[0].instances.pred_boxes.tensor, expected)
    assert results[0].image is None


def test_key_frames_without_a_box_have_no_detections(film, roi_cfg, roi_model):
    detector = VideoActionDetector(roi_cfg, model=roi_model, person_boxes=lambda image: [])
    assert [len(result.instances) for result in detector(film)] == [0] * 5


def test_frames_come_with_results_of_given_boxes(film, roi_cfg, roi_model, tracks):
    detector = VideoActionDetector(roi_cfg, model=roi_model, person_boxes=read_person_boxes(tracks))
    frames = list(detector.frames(film, every=1.0, start=1.0, end=2.5))
    assert len(frames) == 45
    assert frames[10].before.instances.person_ids.tolist() == [7, 9]


def test_another_detector_finds_the_persons(film, cfg, roi_cfg, roi_model):
    from tubedet.inference.person_boxes import DetectedPersons

    torch.manual_seed(5)
    persons = VideoActionDetector(cfg, model=build_model(cfg).eval())
    found = {result.time: result.instances for result in persons(film, every=1.0, end=2.5)}
    roi_model.boxes = type(roi_model.boxes)(**{**vars(roi_model.boxes), "score_thresh": 0.0})
    detector = VideoActionDetector(
        roi_cfg, model=roi_model, person_boxes=DetectedPersons(persons), batch_size=2
    )
    results = list(detector(film, every=1.0, end=2.5))
    assert [result.time for result in results] == [0, 1, 2] == list(found)
    for result in results:
        boxes = found[result.time].pred_boxes.clone()
        boxes.clip((48, 64))
        given = result.instances.pred_boxes.tensor
        nearest = (given[:, None] - boxes.tensor[None]).abs().amax(2).amin(1)
        assert len(given) > 0 and nearest.max() < 1e-3


def test_fault_a_model_without_boxes_says_how_to_give_them(roi_cfg, roi_model):
    with pytest.raises(UserError, match="RoIActionDetector needs the boxes of persons"):
        VideoActionDetector(roi_cfg, model=roi_model)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the clips are not there")
def test_detections_of_a_real_clip_are_where_the_file_says(roi_cfg, roi_model):
    boxes = read_person_boxes(CLIPS / "pets09_s2l1_person_detections.txt")
    detector = VideoActionDetector(roi_cfg, model=roi_model, person_boxes=boxes, batch_size=4)
    results = list(detector(CLIPS / "pets09_s2l1.avi", every=0.5, start=5.0, end=9.0))
    assert len(results) == 8
    for result in results:
        frame = round(result.time * 10) + 1
        rows = boxes.rows_at("pets09_s2l1", frame)
        kept = boxes.scores[rows] >= 0.8
        expected = torch.tensor(boxes.boxes[rows][kept])
        expected[:, 0::2] = expected[:, 0::2].clamp(0, 768)
        found = result.instances.pred_boxes.tensor.double()
        assert len(found) >= 3
        torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
