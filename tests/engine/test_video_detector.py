from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.data import AVADatasetMapper, VideoError
from tubedet.data.frame_stream import ClipWindow
from tubedet.data.video_file import VideoFileReader
from tubedet.engine import load_config
from tubedet.engine.video_detector import VideoActionDetector

CLIPS = Path(__file__).resolve().parents[2] / "../shared/data/clips"
NTSC = Fraction(30000, 1001)


class RecordingModel(torch.nn.Module):
    """Keeps its inputs; the score of the only box is the number of the call."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, batched_inputs):
        assert not self.training and not torch.is_grad_enabled()
        (model_input,) = batched_inputs
        self.inputs.append(model_input)
        instances = Instances((model_input["height"], model_input["width"]))
        instances.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, 10.0, 10.0]]))
        instances.action_scores = torch.full((1, 3), float(len(self.inputs)))
        return [{"instances": instances}]


@pytest.fixture
def cfg():
    return load_config(
        "",
        [
            *("INPUT.CLIP.NUM_FRAMES", "8", "INPUT.CLIP.FRAME_STRIDE", "2"),
            *("INPUT.CLIP.FPS", "15.0", "INPUT.MIN_SIZE_TEST", "40", "MODEL.DEVICE", "cpu"),
        ],
    )


def write_video(path, rate, num_frames=None, *, times=None, first_pts=0, rotation=0):
    """A moving pattern of 96x64 pixels; ``times`` in seconds instead of the constant rate."""
    time_base = 1 / Fraction(rate) if times is None else Fraction(1, 1000)
    y, x = np.mgrid[:64, :96]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"bf": "2", "g": "20"}
        stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(num_frames if times is None else len(times)):
            pattern = np.stack([x * 2 + 9 * number, y * 3 - 7 * number, x + y + 5 * number], -1)
            frame = av.VideoFrame.from_ndarray((pattern % 256).astype(np.uint8), format="rgb24")
            frame.time_base = time_base
            frame.pts = first_pts + (number if times is None else round(times[number] * 1000))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def key_frame_dict(path, timestamp):
    """Dataset dict of a key frame in seconds since the start of the file."""
    return {
        "video_id": Path(path).stem,
        "timestamp": timestamp,
        "video": path,
        "fps": 30.0,
        "start_second": 0.0,
    }


@pytest.mark.parametrize(
    "file_name, rate, options",
    [
        ("a.mp4", 10, {}),
        ("b.mp4", NTSC, {}),
        ("c.mp4", 15, {}),
        ("offset.mkv", NTSC, {"first_pts": 75}),
        ("offset.ts", 15, {}),
        ("phone.mp4", 30, {"rotation": 90}),
    ],
)
def test_model_inputs_are_those_of_the_evaluation(tmp_path, cfg, file_name, rate, options):
    path = write_video(tmp_path / file_name, rate, int(4.5 * rate), **options)
    model = RecordingModel()
    frames = list(VideoActionDetector(cfg, model=model)(path))
    assert len(frames) == int(4.5 * rate)
    assert [model_input["timestamp"] for model_input in model.inputs] == [0, 1, 2, 3, 4]
    mapper = AVADatasetMapper(cfg, is_train=False)
    for model_input in model.inputs:
        expected = mapper(key_frame_dict(path, model_input["timestamp"]))
        assert expected["clip"].shape[:2] == (3, 8) and min(expected["clip"].shape[2:]) == 40
        assert torch.equal(model_input["clip"], expected["clip"])
        for key in ("height", "width", "video_id"):
            assert model_input[key] == expected[key]


@pytest.mark.parametrize(
    "name, num_frames",
    [("R6llTwEh07w.mp4", 303), ("pets09_s2l1.avi", 795), ("v_SoccerJuggling_g23_c01.avi", 240)],
)
def test_real_videos(cfg, name, num_frames):
    path = CLIPS / name
    if not path.is_file():
        pytest.skip(f"{name}: the real clips are not part of the repository")
    model = RecordingModel()
    indices = [frame.index for frame in VideoActionDetector(cfg, model=model)(path, every=2.5)]
    assert indices == list(range(num_frames))
    mapper = AVADatasetMapper(cfg, is_train=False)
    for model_input in model.inputs[:8]:
        expected = mapper(key_frame_dict(str(path), model_input["timestamp"]))
        assert torch.equal(model_input["clip"], expected["clip"])


@pytest.mark.parametrize("every", [0.25, 1.0, 1.7, 30.0])
def test_every_frame_comes_once_with_its_nearest_key_frame(tmp_path, cfg, every):
    path = write_video(tmp_path / "film.mp4", NTSC, 120)
    model = RecordingModel()
    frames = list(VideoActionDetector(cfg, model=model)(path, every=every))
    with VideoFileReader(path) as reader:
        for index, (frame, (time, image)) in enumerate(zip(frames, reader, strict=True)):
            assert (frame.index, frame.time) == (index, time)
            np.testing.assert_array_equal(frame.image, image)
    key_times = np.arange(0, frames[-1].time, every)
    assert [x["timestamp"] for x in model.inputs] == pytest.approx(key_times)
    for frame in frames:
        nearest = np.abs(key_times - frame.time).argmin()
        assert frame.key_time == pytest.approx(key_times[nearest])
        assert frame.instances.action_scores[0, 0] == nearest + 1
        assert frame.instances.image_size == frame.image.shape[:2]


def test_memory_does_not_grow_with_the_length(tmp_path, cfg, monkeypatch):
    path = write_video(tmp_path / "film.mp4", 30, 600)
    decoded, kept = [], []
    iterate, append = VideoFileReader.__iter__, ClipWindow.append

    def count_decoded(self):
        for item in iterate(self):
            decoded.append(None)
            yield item

    def record_length(self, time, frame):
        append(self, time, frame)
        kept.append(len(self))

    monkeypatch.setattr(VideoFileReader, "__iter__", count_decoded)
    monkeypatch.setattr(ClipWindow, "append", record_length)
    frames = VideoActionDetector(cfg, model=RecordingModel())(path)
    waiting = [len(decoded) - number for number, _ in enumerate(frames)]
    assert len(decoded) == len(kept) == 600
    # Half a second to the key frame, 0.43 s to the end of its clip.
    assert max(waiting) <= 0.93 * 30 + 2
    # 0.57 s before the key frame, and at most a second until the next one is complete.
    assert max(kept) <= 2 * 30


@pytest.mark.parametrize("file_name, rate", [("one.mp4", 30), ("one.mkv", 5)])
def test_a_video_of_one_frame(tmp_path, cfg, file_name, rate):
    path = write_video(tmp_path / file_name, rate, 1)
    model = RecordingModel()
    (frame,) = VideoActionDetector(cfg, model=model)(path)
    assert (frame.index, frame.time, frame.key_time, len(model.inputs)) == (0, 0, 0, 1)
    clip = model.inputs[0]["clip"]
    assert torch.equal(clip, clip[:, :1].expand_as(clip))


def test_gaps_between_frames_are_skipped(tmp_path, cfg):
    times = [0, 0.4, 0.8, 500.1, 500.8, 9000.7]
    path = write_video(tmp_path / "gaps.mp4", 30, times=times)
    model = RecordingModel()
    frames = list(VideoActionDetector(cfg, model=model)(path))
    assert [frame.time for frame in frames] == pytest.approx(times)
    # The video ends before second 9001.
    assert [frame.key_time for frame in frames] == [0, 0, 1, 500, 501, 9000]
    assert len(model.inputs) < 10


def test_bad_input_is_refused_at_once(tmp_path, cfg):
    detector = VideoActionDetector(cfg, model=RecordingModel())
    with pytest.raises(VideoError, match=r"nothing\.mp4: .*No such file"):
        detector(tmp_path / "nothing.mp4")
    for every in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="every must be a positive number"):
            detector(write_video(tmp_path / "film.mp4", 30, 3), every=every)


def test_a_file_without_frames_is_an_error(tmp_path, cfg):
    path = tmp_path / "film.mkv"
    write_video(path, 30, 60)
    with av.open(str(path)) as container:
        first = min(p.pos for p in container.demux(video=0) if p.pos)
    path.write_bytes(path.read_bytes()[:first])
    with pytest.raises(VideoError, match=r"film\.mkv: the video stream holds no decodable frame"):
        VideoActionDetector(cfg, model=RecordingModel())(path)
