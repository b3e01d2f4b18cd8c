import json
import logging
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from numbered_videos import damage_packets, read_numbers, write_video
from picture_videos import picture_with_blocks, write_picture_video
from pycocotools.coco import COCO
from video_with_sound import audio_packets, write_video_with_sound

from tubedet.data import VideoError
from tubedet.data.annotations.ava_csv import read_ava_csv
from tubedet.data.video.sources import open_frame_source
from tubedet.inference import VideoActionDetector, VideoOutputs, write_video_results

CLIPS = Path(__file__).resolve().parents[2] / "../shared/data/clips"
NAMES = ["stand", "walk"]
VARIABLE = np.cumsum(np.random.default_rng(3).choice([0.02, 0.033, 0.1, 0.4], 60)).round(3)
VARIABLE -= VARIABLE[0]


class WalkerModel(torch.nn.Module):
    """Finds a person who walks to the right by half of the own width in a second."""

    def __init__(self):
        super().__init__()
        self.num_key_frames = 0

    def forward(self, batched_inputs):
        outputs = []
        for model_input in batched_inputs:
            self.num_key_frames += 1
            time, height = model_input["timestamp"], model_input["height"]
            instances = Instances((height, model_input["width"]))
            box = torch.tensor([[0.0, 0.2, 0.2, 0.9], [0.5, 0.5, 0.9, 0.9]])
            box[0, ::2] += 0.1 * time
            scale = torch.tensor([model_input["width"], height] * 2)
            instances.pred_boxes = Boxes(box * scale)
            instances.scores = torch.tensor([0.9, 0.2])
            instances.action_scores = torch.tensor([[0.1, 0.8], [0.3, 0.3]])
            outputs.append({"instances": instances})
        return outputs


@pytest.fixture
def detector():
    return VideoActionDetector(
        model=WalkerModel(), augmentations=[], num_frames=4, frame_stride=1, fps=10.0
    )


def all_outputs(folder):
    return VideoOutputs(
        video=folder / "out.mp4",
        predictions=folder / "out.csv",
        json_lines=folder / "out.jsonl",
        coco=folder / "out.json",
    )


def decode(path):
    """Frames, their times, and the duration in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(stream)]
        times = [time for time, _ in frames]
        return [image for _, image in frames], times, float(stream.duration * stream.time_base)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "matrix, ratio, size",
    [(None, Fraction(16, 9), (120, 120)), ((0, 1, 1, 0), Fraction(9, 16), (120, 90))],
    ids=["as stored", "turned"],
)
def test_the_sample_aspect_ratio_is_kept(tmp_path, detector, matrix, ratio, size):
    """It was lost, so persons were squeezed. Pixels are those of the stored frames in all files."""
    picture = picture_with_blocks(*(size if matrix is None else size[::-1]))
    source = write_picture_video(
        *(tmp_path / "film.mp4", picture),
        **{"sample_aspect_ratio": Fraction(16, 9), "display_matrix": matrix},
    )
    write_video_results(detector, source, all_outputs(tmp_path / "new"), action_names=NAMES)
    with open_frame_source(tmp_path / "new" / "out.mp4") as written:
        assert written.sample_aspect_ratio == ratio
        assert written.height / written.width == size[0] / size[1]
    (line,) = read_lines(tmp_path / "new" / "out.jsonl")
    assert (line["height"], line["width"]) == size
    (person,) = line["persons"]
    assert person["box"] == pytest.approx([0, 0.2 * size[0], 0.2 * size[1], 0.9 * size[0]], abs=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"rate": Fraction(30000, 1001), "num_frames": 62},
        {"times": VARIABLE, "num_frames": 60},
        {"rotation": 90, "num_frames": 21, "rate": 10},
        {"first_pts": 7, "b_frames": 2, "num_frames": 25, "rate": 10},
        {"num_frames": 1, "rate": 10},
    ],
    ids=["constant", "variable", "rotated", "late B-frames", "one frame"],
)
def test_frames_times_and_duration_are_those_of_the_source(tmp_path, detector, options):
    source = write_video(tmp_path / "film.mp4", **options)
    with open_frame_source(source) as opened:
        expected, duration = list(opened), opened.duration
    summary = write_video_results(
        detector, source, all_outputs(tmp_path / "new"), action_names=NAMES, every=0.5
    )
    images, times, found_duration = decode(tmp_path / "new" / "out.mp4")
    assert summary.num_frames == len(images) == len(expected) == options["num_frames"]
    assert times == pytest.approx([time for time, _ in expected], abs=1e-3)
    assert found_duration == pytest.approx(duration, abs=2e-3)
    assert images[0].shape[0] / images[0].shape[1] == pytest.approx(
        expected[0][1].shape[0] / expected[0][1].shape[1]
    )
    assert all((np.ptp(image.astype(int), axis=-1) > 60).any() for image in images)
    # One entry per key frame in each file.
    assert summary.num_key_frames == detector.model.num_key_frames
    key_times = [line["time"] for line in read_lines(tmp_path / "new" / "out.jsonl")]
    assert len(key_times) == summary.num_key_frames and key_times[0] == 0
    table = read_ava_csv(tmp_path / "new" / "out.csv", ava_kinetics=True)
    assert len(table.scores) == 4 * len(key_times)  # also the unlikely person
    assert sorted(set(table.timestamps.tolist())) == key_times
    coco = COCO(str(tmp_path / "new" / "out.json"))
    assert [image["timestamp"] for image in coco.loadImgs(coco.getImgIds())] == key_times
    assert {a["track_id"] for a in coco.loadAnns(coco.getAnnIds())} == {0}
    assert summary.num_persons == 1
    assert len(list((tmp_path / "new").iterdir())) == 4


def test_the_frames_themselves_come_in_order(tmp_path, detector):
    source = write_video(tmp_path / "film.mp4", num_frames=40, rate=10)
    outputs = VideoOutputs(video=tmp_path / "out.mp4")
    write_video_results(detector, source, outputs, action_names=NAMES, confidence_threshold=1.0)
    images, _, _ = decode(tmp_path / "out.mp4")
    factor = images[0].shape[0] // 48
    small = np.stack([cv2.resize(i, None, fx=1 / factor, fy=1 / factor) for i in images])
    assert read_numbers(small) == list(range(40))


def test_boxes_move_between_key_frames(tmp_path, detector):
    frames = np.full((21, 400, 400, 3), 90, np.uint8)
    drawings = []
    with open_frame_source(frames, fps=10) as source:
        summary = write_video_results(
            detector,
            source,
            VideoOutputs(),
            action_names=NAMES,
            show=lambda drawing: drawings.append(drawing) or True,
        )
    assert summary.num_frames == 21 and summary.num_key_frames == 3
    for index, drawing in enumerate(drawings):
        # The left side of the box, half way down.
        row = np.flatnonzero((drawing[300] != 90).any(axis=-1))
        assert abs(row[0] - 40 * index / 10) <= 4


def test_key_frames_alone_give_the_same_files(tmp_path, detector):
    source = write_video(tmp_path / "film.mp4", num_frames=30, rate=10)
    times = []
    for name, show in (("drawn", lambda drawing: True), ("keys", None)):
        folder = tmp_path / name
        outputs = VideoOutputs(
            predictions=folder / "a.csv", json_lines=folder / "a.jsonl", coco=folder / "a.json"
        )
        summary = write_video_results(
            detector,
            source,
            outputs,
            action_names=NAMES,
            name="other",
            every=0.7,
            show=show,
            progress=times.append,
        )
        assert summary.num_frames == (30 if show else 0) and summary.num_key_frames == 5
    assert times == pytest.approx([i / 10 for i in range(30)] + [0.7 * i for i in range(5)])
    for file_name in ("a.csv", "a.jsonl", "a.json"):
        drawn, keys = ((tmp_path / name / file_name).read_text() for name in ("drawn", "keys"))
        assert drawn == keys and "other" in keys


def test_a_part_with_its_sound(tmp_path, detector):
    source = write_video_with_sound(tmp_path / "in.mp4", seconds=4.0)
    outputs = all_outputs(tmp_path)
    write_video_results(
        detector, source, outputs, action_names=NAMES, start=1.25, end=2.5, every=0.5
    )
    images, times, duration = decode(outputs.video)
    # Frames of 1.3 to 2.4 s; the last one lasts to the end.
    assert len(images) == 12 and times == pytest.approx(np.arange(12) / 10)
    assert duration == pytest.approx(1.2)
    assert [line["time"] for line in read_lines(outputs.json_lines)] == [1.5, 2.0]
    sound = audio_packets(outputs.video)
    assert [data for _, data in sound] == [d for _, d in audio_packets(source, start=1.3, end=2.5)]


def test_sound_of_a_file_that_states_no_duration(tmp_path, detector):
    """As a browser records it."""
    source = write_video_with_sound(tmp_path / "in.mkv", seconds=3.0, options={"live": "1"})
    with open_frame_source(source) as opened:
        assert opened.duration is None
    outputs = VideoOutputs(video=tmp_path / "out.mp4")
    write_video_results(detector, source, outputs, action_names=NAMES)
    assert len(decode(outputs.video)[0]) == 30
    sound = [data for _, data in audio_packets(outputs.video)]
    assert sound == [data for _, data in audio_packets(source)] and len(sound) > 40


def test_stopping_early_leaves_whole_files(tmp_path, detector):
    source = write_video_with_sound(tmp_path / "in.mp4", seconds=4.0)
    times = []
    summary = write_video_results(
        detector,
        source,
        all_outputs(tmp_path),
        action_names=NAMES,
        every=0.5,
        progress=times.append,
        stop=lambda: len(times) == 17,
    )
    assert summary.is_stopped and summary.num_frames == 17 and summary.time == pytest.approx(1.6)
    images, _, duration = decode(tmp_path / "out.mp4")
    assert len(images) == 17 and duration == pytest.approx(1.7)
    assert 1.6 < audio_packets(tmp_path / "out.mp4")[-1][0] < 1.7
    assert len(read_lines(tmp_path / "out.jsonl")) == summary.num_key_frames >= 4
    COCO(str(tmp_path / "out.json"))


def test_an_exception_leaves_no_file(tmp_path, detector):
    source = write_video(tmp_path / "film.mp4", num_frames=30, rate=10)
    (tmp_path / "out.csv").write_text("older")
    with pytest.raises(RuntimeError, match="mine"):
        write_video_results(
            detector,
            source,
            all_outputs(tmp_path),
            action_names=NAMES,
            progress=lambda time: (_ for _ in ()).throw(RuntimeError("mine")),
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == "older"


def test_a_part_without_frames_is_an_error_and_leaves_nothing(tmp_path, detector):
    source = write_video(tmp_path / "film.mp4", num_frames=3, rate=10)
    with pytest.raises(VideoError, match=r"film\.mp4: no frame"):
        write_video_results(detector, source, all_outputs(tmp_path), action_names=NAMES, start=5.0)
    with pytest.raises(ValueError, match="every"):
        write_video_results(detector, source, all_outputs(tmp_path), action_names=NAMES, every=0.0)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.skipif(not CLIPS.exists(), reason="no real clips here")
def test_the_end_of_a_real_clip(tmp_path, detector):
    source = CLIPS / "R6llTwEh07w.mp4"
    write_video_results(detector, source, all_outputs(tmp_path), action_names=NAMES, start=9.0)
    images, times, duration = decode(tmp_path / "out.mp4")
    assert len(images) == 33 and duration == pytest.approx(1.1)
    sound = [data for _, data in audio_packets(tmp_path / "out.mp4")]
    assert sound == [data for _, data in audio_packets(source, start=9.0)] and len(sound) > 30
    assert [line["time"] for line in read_lines(tmp_path / "out.jsonl")] == [9.0, 10.0]


def test_damaged_frames_are_counted_and_said_once(detector, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    path = write_video(tmp_path / "v.mp4", 100, rate=15, gop=1)
    damage_packets(path, (*range(20, 30), *range(60, 70), *range(80, 90)))
    summary = write_video_results(detector, path, all_outputs(tmp_path), action_names=NAMES)
    assert (summary.num_frames, summary.num_damaged) == (70, 30)
    (line,) = [record for record in caplog.records if record.name.startswith("tubedet")]
    assert line.levelname == "WARNING"
    assert line.getMessage() == f"{path}: 30 of about 100 frames are damaged and left out"

    caplog.clear()
    damage_packets(path, range(30, 60))  # more than a second of them
    with pytest.raises(VideoError, match=r"not decodable from 1\.267 s to 4\.667 s"):
        write_video_results(detector, path, all_outputs(tmp_path), action_names=NAMES)
    (line,) = [record for record in caplog.records if record.name.startswith("tubedet")]
    assert "of about 100 frames are damaged and left out" in line.getMessage()


def test_what_takes_too_long_leaves_nothing(tmp_path, detector):
    source = write_video(tmp_path / "film.mp4", num_frames=30, rate=10)
    outputs = VideoOutputs(video=tmp_path / "out.mp4", predictions=tmp_path / "out.csv")
    with pytest.raises(VideoError, match=r"film\.mp4: takes longer than 1e-09 minutes"):
        write_video_results(detector, source, outputs, action_names=NAMES, max_minutes=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
