from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from numbered_videos import read_numbers, write_video
from recording_detector import CountingSource, recording_detector

from tubedet.data import ClipDatasetMapper
from tubedet.data.video.sources import open_frame_source
from tubedet.data.video.video_file import VideoFileReader
from tubedet.engine import load_config
from tubedet.inference import VideoActionDetector

CLIPS = Path(__file__).resolve().parents[2] / "../shared/data/clips"
CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
NTSC = 30000 / 1001
VARIABLE = np.cumsum(np.random.default_rng(3).choice([0.02, 0.033, 0.1, 0.4], 60)).round(3)


@pytest.fixture(scope="module")
def toy_model():
    torch.manual_seed(5)
    return build_model(load_config(CONFIG, ["MODEL.DEVICE", "cpu"])).eval()


def key_frame_dict(path, timestamp, fps=30.0):
    """Dataset dict of a key frame in seconds since the start of the file."""
    return {
        "video_id": Path(path).stem,
        "timestamp": timestamp,
        "video": str(path),
        "fps": fps,
        "start_second": 0.0,
    }


@pytest.mark.parametrize(
    "file_name, options, part",
    [
        ("a.mp4", {"rate": 10, "b_frames": 3}, {"batch_size": 3}),
        ("b.mp4", {"rate": NTSC, "b_frames": 2}, {"start": 0.7, "end": 2.6, "every": 0.5}),
        ("vfr.mp4", {"times": VARIABLE - VARIABLE[0]}, {"batch_size": 3, "every": 0.7}),
        ("vfr.mkv", {"times": VARIABLE, "first_pts": 300}, {"start": 2.0}),
        ("offset.ts", {"rate": 25, "b_frames": 2}, {}),
        ("phone.mp4", {"rotation": 90}, {"batch_size": 2, "end": 1.0, "every": 0.4}),
        ("odd.avi", {"codec": "mpeg4", "size": (47, 64), "b_frames": 1}, {"every": 0.9}),
    ],
)
def test_results_are_those_of_the_evaluation(tmp_path, cfg, toy_model, file_name, options, part):
    path = write_video(tmp_path / file_name, 60, **options)
    batch_size, part = part.get("batch_size", 1), {**part}
    part.pop("batch_size", None)
    detector = VideoActionDetector(cfg, model=toy_model, batch_size=batch_size)
    results = list(detector(path, **part))
    with VideoFileReader(path) as reader:
        times = [time for time, _ in reader]
    part = {"every": 1.0, "start": 0.0, "end": np.inf, **part}
    multiples = np.arange(40) * part["every"]
    is_inside = (multiples >= part["start"]) & (multiples < min(part["end"], times[-1] + 1e-3))
    assert [result.time for result in results] == pytest.approx(multiples[is_inside])
    assert [result.index for result in results] == list(range(len(results)))
    assert len(results) >= 2
    mapper = ClipDatasetMapper(cfg, is_train=False)
    for result in results:
        model_input = mapper(key_frame_dict(path, result.time))
        with torch.inference_mode():
            expected = toy_model([model_input])[0]["instances"]
        assert result.instances.image_size == (model_input["height"], model_input["width"])
        for name in ("scores", "action_scores"):
            torch.testing.assert_close(
                result.instances.get(name), expected.get(name), rtol=0, atol=1e-5
            )
        torch.testing.assert_close(
            result.instances.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-5, atol=1e-4
        )
        assert result.image is None and not result.instances.scores.is_inference()


@pytest.mark.parametrize(
    "clip, expected",
    [
        (["FRAME_STRIDE", 4, "FRAME_SHIFT", 1], [45, 49, 53, 57, 61, 65, 69, 73]),
        (["FRAME_STRIDE", 4, "FRAME_SHIFT", -9], [35, 39, 43, 47, 51, 55, 59, 63]),
        (["SPAN", 100, "FRAME_SHIFT", 2], [18, 30, 43, 55, 68, 80, 93, 105]),
    ],
)
def test_clips_of_other_spans_are_those_of_the_evaluation(cfg, film, clip, expected):
    opts = [f"INPUT.CLIP.{word}" if isinstance(word, str) else word for word in clip]
    cfg.merge_from_list([*opts, "INPUT.CLIP.FPS", 30.0, "INPUT.MIN_SIZE_TEST", 48])
    detector, model = recording_detector(cfg)
    results = list(detector(film))
    mapper = ClipDatasetMapper(cfg, is_train=False)
    assert len(results) == len(model.inputs) == 5
    for result, model_input in zip(results, model.inputs):
        there = mapper(key_frame_dict(film, result.time))
        assert torch.equal(model_input["clip"], there["clip"])
    # The key frame of second 2 is number 60; not all of these clips have it.
    assert read_numbers(model.inputs[2]["clip"].permute(1, 2, 3, 0).numpy()) == expected


def test_a_folder_is_decoded_for_the_model_as_in_evaluation(tmp_path, cfg):
    rng = np.random.default_rng(0)
    for number in range(25):
        image = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (256, 192))
        cv2.imwrite(str(tmp_path / f"frame_{number:03d}.jpg"), image)
    detector, model = recording_detector(cfg)
    with open_frame_source(tmp_path, fps=12) as source:
        frames = list(detector.frames(source))
        assert [frame.image.shape for frame in frames] == [(192, 256, 3)] * 25
    mapper = ClipDatasetMapper(cfg, is_train=False)
    assert [x["timestamp"] for x in model.inputs] == [0, 1, 2]
    for model_input in model.inputs:
        expected = mapper(key_frame_dict(tmp_path, model_input["timestamp"], fps=12.0))
        assert torch.equal(model_input["clip"], expected["clip"])
        assert (model_input["height"], model_input["width"]) == (192, 256)


@pytest.mark.parametrize(
    "name, num_frames",
    [("R6llTwEh07w.mp4", 303), ("pets09_s2l1.avi", 795), ("v_SoccerJuggling_g23_c01.avi", 240)],
)
def test_real_videos(cfg, name, num_frames):
    path = CLIPS / name
    if not path.is_file():
        pytest.skip(f"{name}: the real clips are not part of the repository")
    detector, model = recording_detector(cfg)
    indices = [frame.index for frame in detector.frames(path, every=2.5)]
    assert indices == list(range(num_frames))
    mapper = ClipDatasetMapper(cfg, is_train=False)
    for model_input in model.inputs[:5]:
        expected = mapper(key_frame_dict(path, model_input["timestamp"]))
        assert torch.equal(model_input["clip"], expected["clip"])


@pytest.mark.parametrize("every, batch_size", [(0.01, 1), (0.25, 4), (1.0, 1), (1.7, 2), (30, 3)])
def test_every_frame_comes_once_between_its_results(film, cfg, every, batch_size):
    detector, model = recording_detector(cfg, batch_size=batch_size)
    frames = list(detector.frames(film, every=every))
    assert [frame.index for frame in frames] == list(range(123))
    assert read_numbers(np.stack([frame.image for frame in frames])) == list(range(123))
    key_times = np.array([x["timestamp"] for x in model.inputs])
    assert key_times[0] == 0 and (np.diff(key_times) > 0).all()
    for frame in frames:
        assert frame.time == pytest.approx(frame.index / 30)
        place = np.searchsorted(key_times, frame.time + 1e-3) - 1
        assert frame.before.index == place and frame.before.time == key_times[place]
        assert frame.time - frame.before.time < every + 1e-3
        assert frame.before.instances.action_scores[0, 0] == pytest.approx(key_times[place])
        if place + 1 < len(key_times):
            assert frame.after.index == place + 1
        else:
            assert frame.after is None


@pytest.mark.parametrize(
    "part, numbers, key_times",
    [
        ({"start": 1.5, "end": 3.0}, range(45, 90), [2.0]),
        ({"start": 1.0, "end": 3.2}, range(30, 96), [1.0, 2.0, 3.0]),
        ({"start": 3.0}, range(90, 123), [3.0, 4.0]),
        ({"end": 0.5}, range(15), [0.0]),
        # Between two multiples, and behind the last one.
        ({"start": 2.3, "end": 2.6}, range(69, 78), [2.3]),
        ({"start": 4.05}, range(122, 123), [122 / 30]),
        ({"start": 0.1, "every": 60}, range(3, 123), [0.1]),
    ],
)
def test_parts(film, cfg, part, numbers, key_times):
    detector, model = recording_detector(cfg)
    frames = list(detector.frames(film, **part))
    assert read_numbers(np.stack([frame.image for frame in frames])) == list(numbers)
    assert [x["timestamp"] for x in model.inputs] == pytest.approx(key_times)
    for frame in frames:
        if frame.time < key_times[0] - 1e-3:
            assert (frame.before.time, frame.after) == (pytest.approx(key_times[0]), None)
    # The clips at the edges show what is beyond them.
    mapper = ClipDatasetMapper(cfg, is_train=False)
    for model_input in model.inputs:
        expected = mapper(key_frame_dict(film, model_input["timestamp"]))
        assert torch.equal(model_input["clip"], expected["clip"])


def test_each_frame_is_decoded_once_and_resized_once(film, cfg, monkeypatch):
    counts = Counter()
    decoded_frames, rgb = VideoFileReader._decoded_frames, VideoFileReader.rgb

    def count_decoded(self):
        for frame in decoded_frames(self):
            counts["decoded"] += 1
            yield frame

    def count_converted(self, frame):
        counts["converted"] += 1
        return rgb(self, frame)

    monkeypatch.setattr(VideoFileReader, "_decoded_frames", count_decoded)
    monkeypatch.setattr(VideoFileReader, "rgb", count_converted)
    detector, _ = recording_detector(cfg)
    assert len(list(detector(film, every=0.25))) == 17
    assert counts == {"decoded": 123, "converted": 123}
    counts.clear()
    assert len(list(detector.frames(film, every=0.25))) == 123
    # For the model and, once nobody has to wait for it any more, for the caller.
    assert counts == {"decoded": 123, "converted": 246}
    counts.clear()
    results = list(detector(film, start=3.0, end=3.5, images=True))
    assert read_numbers(results[0].image[None]) == [90]
    # The first frame, one group of pictures at most, the clip's 14 frames and what is read ahead.
    assert counts["decoded"] <= 1 + 12 + 8 + 15 + 18 + 2


@pytest.mark.parametrize("every, batch_size", [(1.0, 1), (1.0, 3)])
def test_memory_does_not_grow_with_the_length(cfg, every, batch_size):
    kept = {}
    for num_seconds in (20, 200):
        source = CountingSource(10 * num_seconds)
        detector, model = recording_detector(cfg, batch_size=batch_size)
        num_frames = sum(1 for _ in detector.frames(source, every=every))
        assert (num_frames, len(model.inputs)) == (10 * num_seconds, num_seconds)
        model.inputs.clear()
        kept[num_seconds] = source.most_alive
    # Half a clip is 0.47 seconds; 32 frames of a megabyte are read ahead, and one is in work.
    bound = (batch_size * every + 0.47) * 10 + 32 + 3
    assert kept[200] <= bound and kept[20] <= bound
    without_frames = CountingSource(300)
    assert len(list(detector(without_frames))) == 30
    assert without_frames.most_alive <= 3


def test_images_are_the_key_frames_and_only_they_wait(film, cfg):
    detector, model = recording_detector(cfg, batch_size=2)
    results = list(detector(film, images=True))
    assert read_numbers(np.stack([r.image for r in results])) == [0, 30, 60, 90, 120]
    # At a low rate the key frame is not the nearest frame but the one in the clip's middle slot.
    detector, model = recording_detector(cfg)
    numbered = (np.full((8, 8, 3), number, np.uint8) for number in range(9))
    shown = [
        r.image.max() for r in detector(open_frame_source(numbered, fps=3), every=0.37, images=True)
    ]
    assert shown == [0, 1, 2, 3, 4, 5, 6, 7] == [x["clip"][:, 4].max() for x in model.inputs]
    source = CountingSource(900)
    assert sum(1 for _ in detector(source, images=True)) == 90
    assert source.most_alive <= 32 + 6


@pytest.mark.parametrize("file_name, rate", [("one.mp4", 30), ("one.mkv", 5)])
def test_a_video_of_one_frame(tmp_path, cfg, file_name, rate):
    path = write_video(tmp_path / file_name, 1, rate=rate)
    detector, model = recording_detector(cfg)
    (frame,) = detector.frames(path)
    assert (frame.index, frame.time, frame.before.time, frame.after) == (0, 0, 0, None)
    (model_input,) = model.inputs
    assert torch.equal(model_input["clip"], model_input["clip"][:, :1].expand(-1, 8, -1, -1))
    (result,) = detector(path, images=True)
    np.testing.assert_array_equal(result.image, frame.image)


def test_gaps_between_frames_are_skipped(tmp_path, cfg):
    times = [0, 0.4, 0.8, 500.1, 500.8, 9000.7]
    path = write_video(tmp_path / "gaps.mp4", 6, times=times)
    detector, model = recording_detector(cfg)
    frames = list(detector.frames(path))
    assert [frame.time for frame in frames] == pytest.approx(times)
    # The video ends before second 9001.
    assert [x["timestamp"] for x in model.inputs] == [0, 1, 500, 501, 9000]
    assert [frame.before.time for frame in frames] == [0, 0, 0, 500, 500, 9000]
    assert [frame.after and frame.after.time for frame in frames] == [1, 1, 1, 501, 501, None]


def test_batches_and_options(film, cfg, monkeypatch):
    detector, model = recording_detector(cfg, batch_size=3)
    list(detector(film))
    assert model.batches == [[0, 1, 2], [3, 4]]
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: None)
    detector, model = recording_detector(cfg, batch_size=3, compile=True, device="cpu")
    assert [result.time for result in detector(film)] == [0, 1, 2, 3, 4]
    assert model.batches == [[0, 1, 2], [3, 4, 4]]
    with pytest.raises(ValueError, match='amp="float16" needs a GPU'):
        recording_detector(cfg, amp="float16")
    with pytest.raises(ValueError, match="device 'gpu'"):
        VideoActionDetector(cfg, device="gpu")


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_clips_for_a_gpu_lie_in_pinned_memory(kind, cfg, monkeypatch):
    made = []
    empty = torch.empty

    def noted_empty(*args, pin_memory=None, **options):
        if pin_memory is not None:
            made.append(pin_memory)
        return empty(*args, **options)

    detector, model = recording_detector(cfg)
    detector.device = torch.device(kind)
    monkeypatch.setattr(torch, "empty", noted_empty)
    frames = np.arange(10 * 8 * 8 * 3).reshape(10, 8, 8, 3).astype(np.uint8)
    with open_frame_source(frames, fps=10) as source:
        assert len(list(detector(source))) == 1
    assert made == [kind == "cuda"]
    assert model.inputs[0]["clip"].is_contiguous() and len(model.inputs[0]["clip"]) == 3
