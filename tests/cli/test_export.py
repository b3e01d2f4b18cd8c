"""The export as a user starts it, and its file in a process without tubedet."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import av
import numbered_videos
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from picture_videos import picture_with_blocks, write_picture_video
from small_detectors import StridedBackbone, with_varied_weights
from video_with_sound import write_video_with_sound

from tubedet.cli import export
from tubedet.cli.running import run_command
from tubedet.data.video.video_file import VideoFileReader
from tubedet.engine import load_config
from tubedet.export import Deviation

TUBER = "configs/quick_schedules/TubeR_toy.yaml"
D2 = "configs/quick_schedules/D2_TubeR_toy.yaml"
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.CSN.OUT_FEATURES", ["res5"]]
for _node in ("TUBER", "DEFORMABLE_TUBER"):
    SMALL += [f"MODEL.{_node}.ENC_LAYERS", 1, f"MODEL.{_node}.DEC_LAYERS", 1]
    SMALL += [f"MODEL.{_node}.PERSON_THRESH", 0.0]
SMALL += ["MODEL.DEFORMABLE_TUBER.NUM_LEVELS", 1]
# Runs the example as a file of its own in a process that cannot import these.
WITHOUT = (
    "import runpy, sys; sys.modules.update(dict.fromkeys({blocked})); sys.argv = sys.argv[1:]; "
)
WITHOUT += "runpy.run_path(sys.argv[0], run_name='__main__')"


def with_strided_backbone(cfg):
    """A model as ``load_model`` makes it, but for its backbone."""
    model = build_model(cfg)
    model.backbone = StridedBackbone(model.backbone)
    if cfg.MODEL.WEIGHTS:
        model.load_state_dict(torch.load(cfg.MODEL.WEIGHTS)["model"])
    return model.eval()


def options(output, *more):
    config, kind = (D2, "onnx") if str(output).endswith("onnx") else (TUBER, "torch_export")
    arguments = ["--config-file", config, "--format", kind, "--output", str(output), *more]
    return [*arguments, *map(str, SMALL)]


def write_video(path):
    """20 frames of noise, 15 a second, stored without loss; returns them as (20, 48, 64, 3)."""
    frames = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return frames


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_file_gives_the_models_numbers_without_tubedet(suffix, tmp_path, capsys, monkeypatch):
    blocked = ["tubedet", "detectron2", "torchvision"]
    if suffix == "onnx":
        pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
        blocked.append("torch")
        # Fewer operators convert faster; PyTorch's file is that of the whole model.
        monkeypatch.setattr(export, "load_model", with_strided_backbone)
    cfg = load_config(D2 if suffix == "onnx" else TUBER, SMALL)
    torch.manual_seed(5)
    model = with_varied_weights(export.load_model(cfg))
    weights, output = tmp_path / "weights.pth", tmp_path / f"model.{suffix}"
    torch.save({"model": model.state_dict()}, weights)
    # A fixed size traces faster; free ones are tested with the package.
    arguments = options(output, "--size", "48x64", "MODEL.WEIGHTS", str(weights))
    assert run_command("export", arguments) == 0
    printed = capsys.readouterr().out
    assert "3x3x8x48x64" in printed and str(output) in printed
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([output.name, weights.name])

    frames = write_video(tmp_path / "noise.mkv")
    # Slots around second 0.6, frame 9: every second frame, the last one is the video's frame 15.
    clip = torch.from_numpy(frames[[1, 3, 5, 7, 9, 11, 13, 15]]).permute(3, 0, 1, 2)
    with torch.no_grad():
        expected, reversed_clip = (
            model([{"clip": x, "height": 1, "width": 1}])[0]["instances"]
            for x in (clip, clip.flip(1))
        )
    assert (expected.action_scores - reversed_clip.action_scores).abs().max() > 1e-3
    assert expected.pred_boxes.tensor.std(0).max() > 1e-3
    program = WITHOUT.format(blocked=blocked)
    example = ["tools/run_exported_model.py", str(output), str(tmp_path / "noise.mkv"), "0.6"]
    example += ["--min-score", "0"]
    command = [sys.executable, "-c", program, *example]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("can run code of whoever made it" in result.stderr) == (output.suffix == ".pt2")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == len(expected) == 6
    order = expected.scores.argsort(descending=True, stable=True)
    for row, person in zip(order, found):
        np.testing.assert_allclose(person["box"], expected.pred_boxes.tensor[row], atol=1e-4)
        assert person["score"] == pytest.approx(expected.scores[row].item(), abs=1e-4)
        scores = list(person["actions"].values())
        assert scores == sorted(scores, reverse=True)
        sorted_scores = expected.action_scores[row].sort(descending=True).values
        np.testing.assert_allclose(scores, sorted_scores, atol=1e-4)
        stand = expected.action_scores[row][11].item()  # number 12 of AVA
        assert len(scores) == 80 and person["actions"]["stand"] == pytest.approx(stand, abs=1e-4)


def test_files_are_for_the_cpu_unless_a_device_is_asked_for(tmp_path, monkeypatch):
    config = tmp_path / "gpu.yaml"
    config.write_text(f"_BASE_: {Path(TUBER).resolve()}\nMODEL:\n  DEVICE: cuda:1\n")
    devices = []
    monkeypatch.setattr(export, "export", lambda cfg, _: devices.append(cfg.MODEL.DEVICE))
    for kind, suffix in (("torch_export", "pt2"), ("onnx", "onnx")):
        arguments = ["--config-file", str(config), "--format", kind, "--output", f"a.{suffix}"]
        for opts in ([], ["MODEL.DEVICE", "cuda:2"], ["MODEL.WEIGHTS", "MODEL.DEVICE"]):
            assert run_command("export", [*arguments, *opts]) == 0
    assert devices == ["cpu", "cuda:2", "cpu", "cpu", "cpu", "cpu"]


def test_the_example_runs_a_file_on_its_device(tmp_path):
    """With "meta" for a GPU: clips go there; what comes back from a GPU does not from there."""

    class Program(torch.nn.Module):
        def forward(self, clips):
            return (clips.float() + torch.ones(1, device=clips.device),)

    for device in ("cpu", "meta"):
        clips = torch.zeros(1, 3, 2, 4, 4, dtype=torch.uint8, device=device)
        program = torch.export.export(Program(), (clips,))
        path = tmp_path / f"{device}.pt2"
        torch.export.save(program, path, extra_files={"tubedet.json": f'{{"device": "{device}"}}'})
        run, about = runpy.run_path("tools/run_exported_model.py")["load"](str(path))
        assert about == {"device": device}
        clips = np.full((1, 3, 2, 4, 4), 6, np.uint8)
        if device == "cpu":
            assert (run(clips)[0] == 7).all()
        else:
            with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
                run(clips)


def test_what_a_pt2_file_may_do_is_said_before_it_is_opened(tmp_path, capsys, monkeypatch):
    path = tmp_path / "of others.pt2"
    path.write_bytes(b"\x80\x04")
    said = []

    def load(path, **options):
        said.append(capsys.readouterr().err)
        raise RuntimeError("opened")

    monkeypatch.setattr(torch.export, "load", load)
    with pytest.raises(RuntimeError, match="opened"):
        runpy.run_path("tools/run_exported_model.py")["load"](str(path))
    assert said == [f"{path}: a .pt2 file can run code of whoever made it; of others, take .onnx\n"]


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_example_turns_videos_as_evaluation_does(tmp_path, rotation):
    example = runpy.run_path("tools/run_exported_model.py")
    path = numbered_videos.write_video(tmp_path / "phone.mp4", 30, rate=15, rotation=rotation)
    about = {"num_frames": 4, "key_frame": 2, "frame_stride": 1, "fps": 15}
    about |= {"short_side": 10**6, "max_size": 10**6, "side_multiple": 1}
    with VideoFileReader(path) as reader:
        expected = reader.read(np.arange(8, 12) / 15)
    about["size"] = list(expected.shape[1:3])
    found = example["read_clip"](str(path), 10 / 15, about).transpose(1, 2, 3, 0)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 2
    with pytest.raises(SystemExit, match=r"phone.mp4 ends at 1.9 s"):
        example["read_clip"](str(path), 500.0, about)


def test_the_example_reads_the_frames_of_a_shifted_clip(tmp_path):
    example = runpy.run_path("tools/run_exported_model.py")
    path = numbered_videos.write_video(tmp_path / "film.mp4", 60, rate=25)
    about = {"num_frames": 4, "key_frame": 2, "frame_stride": 4, "frame_shift": 1, "fps": 25}
    about |= {"short_side": 48, "max_size": 100, "side_multiple": 1}
    clip = example["read_clip"](path, 1.0, about)
    assert numbered_videos.read_numbers(clip.transpose(1, 2, 3, 0)) == [18, 22, 26, 30]
    about |= {"frame_stride": 7.5, "frame_shift": 3.75}
    clip = example["read_clip"](path, 1.0, about)
    assert numbered_videos.read_numbers(clip.transpose(1, 2, 3, 0)) == [13, 21, 28, 36]


@pytest.mark.parametrize(
    "matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0), (0.6, 0.8, -0.8, 0.6)]
)
def test_the_example_mirrors_videos_as_evaluation_does(tmp_path, matrix):
    example = runpy.run_path("tools/run_exported_model.py")
    path = write_picture_video(tmp_path / "a.mp4", picture_with_blocks(), display_matrix=matrix)
    about = {"num_frames": 2, "key_frame": 1, "frame_stride": 1, "fps": 10}
    about |= {"short_side": 48, "max_size": 100, "side_multiple": 1}
    with VideoFileReader(path) as reader:
        expected = reader.read([0.1, 0.2])
    found = example["read_clip"](path, 0.2, about).transpose(1, 2, 3, 0)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_the_example_reads_videos_whose_titles_are_not_utf8(tmp_path):
    example = runpy.run_path("tools/run_exported_model.py")
    path = write_video_with_sound(tmp_path / "film.mp4", odd_titles=True)
    about = {"num_frames": 2, "key_frame": 1, "frame_stride": 5, "fps": 10}
    about |= {"short_side": 24, "max_size": 100, "side_multiple": 8}
    clip = example["read_clip"](path, 1.5, about)
    assert clip.shape == (3, 2, 24, 32)
    np.testing.assert_allclose(clip.mean(axis=(0, 2, 3)), (4 * 10, 4 * 15), atol=3)


def test_a_file_that_deviates_is_not_left(tmp_path, monkeypatch, capsys):
    output = tmp_path / "model.pt2"
    output.write_bytes(b"precious")
    monkeypatch.setattr(export, "trace_detector", lambda model, shape: None)
    format_of_test = export.FORMATS["torch_export"]
    monkeypatch.setitem(
        export.FORMATS,
        "torch_export",
        type(format_of_test)(".pt2", 1e-5, lambda p, path, record: path.write_bytes(b"1"), str),
    )
    for wrong in (2e-5, float("nan")):
        deviation = Deviation((1, 3, 8, 48, 64), 0.0, wrong, 0.0, 0.0)
        monkeypatch.setattr(export, "compare", lambda *_, d=deviation: [d])
        assert run_command("export", options(output, "--force")) == 2
        assert "model.pt2 is not written" in capsys.readouterr().err
        assert [p.name for p in tmp_path.iterdir()] == ["model.pt2"]
        assert output.read_bytes() == b"precious"


def test_wrong_input_ends_with_one_line(tmp_path, monkeypatch, capsys):
    there = tmp_path / "there.pt2"
    there.write_bytes(b"precious")
    for arguments, reason in (
        (options(tmp_path / "model.pth"), "a file of --format torch_export ends with .pt2"),
        (options(tmp_path / "a.pt2", "--size", "48"), "is not HEIGHTxWIDTH"),
        (options(tmp_path / "a.pt2", "--size", "8x48"), "sides of 32 to 4096"),
        (options(tmp_path / "a.pt2", "--batch", "0"), "--batch must be at least 1"),
        ([*options(tmp_path / "a.pt2"), "MODEL.WEIGHTS"], "must come in pairs"),
    ):
        with pytest.raises(SystemExit) as caught:
            run_command("export", arguments)
        assert caught.value.code == 2
        assert reason in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for arguments, reason in (
        (options(there), "there.pt2 exists; --overwrite replaces it"),
        (options(tmp_path / "a.onnx"), "pip install 'tubedet[export]'"),
        (options(tmp_path / "a.pt2", "MODEL.WEIGHTS", "nothing.pth"), "nothing.pth"),
        (options(tmp_path / "a.pt2", "MODEL.NOTHING", "1"), "MODEL.NOTHING"),
    ):
        assert run_command("export", arguments) == 2
        assert reason in capsys.readouterr().err.splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["there.pt2"]
    assert there.read_bytes() == b"precious"
