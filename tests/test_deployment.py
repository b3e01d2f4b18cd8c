"""The server of docs/deployment.md is run with a small exported detector."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import av
import numpy as np
import pytest
from documented_commands import ROOT, blocks
from small_detectors import small_detector

from tubedet.export import FORMATS, ClipShape, deployment_record, trace_detector

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

SMALL = ["MODEL.TUBER.DEC_LAYERS", 1, "MODEL.TUBER.PERSON_THRESH", 0.0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    cfg, model = small_detector("TubeR", own_backbone=False, opts=SMALL)
    shape = ClipShape(8, 1, (48, 64))
    path = tmp_path_factory.mktemp("exported") / "detector.onnx"
    program = trace_detector(model, shape)
    FORMATS["onnx"].write(program, path, deployment_record(cfg, shape, model))
    return path


@pytest.fixture(scope="module")
def server(exported):
    """The address of the documented server."""
    # Not "python": such blocks may import only what every installation has.
    shown = [b for b in blocks(ROOT / "docs/deployment.md") if b.language == "py"]
    (block,) = [b for b in shown if "http.server" in b.text]
    assert len(block.text.splitlines()) < 60
    script = exported.parent / "serve.py"
    script.write_text(block.text)
    command = [sys.executable, str(script), str(exported), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield process.stdout.readline().decode().strip()
        process.terminate()


def post(address, content):
    with urllib.request.urlopen(urllib.request.Request(address, content), timeout=60) as answer:
        return json.load(answer)


def write_noise(path):
    """A video of 20 frames, 15 a second; returns them."""
    frames = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=15)  # without loss
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return frames


def test_operators_are_those_of_onnx_itself(exported):
    model = onnx.load(exported)
    assert [(used.domain, used.version) for used in model.opset_import] == [("", 20)]
    assert len(model.graph.node) > 50 and not model.functions
    for node in model.graph.node:
        assert node.domain == "" and onnx.defs.has(node.op_type)


def test_the_server_answers_with_the_detections_of_the_file(exported, server, tmp_path):
    frames = write_noise(tmp_path / "noise.mkv")
    answer = post(f"{server}/?second=0.6", (tmp_path / "noise.mkv").read_bytes())
    # Every second frame around frame 9.
    clip = np.ascontiguousarray(frames[1:16:2].transpose(3, 0, 1, 2)[None])
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    boxes, scores, actions, _ = (x[0] for x in session.run(None, {"clips": clip}))
    backwards = session.run(None, {"clips": np.ascontiguousarray(clip[:, :, ::-1])})
    assert abs(backwards[2][0] - actions).max() > 1e-3
    assert len(answer) == len(boxes) == 6
    np.testing.assert_allclose([person["box"] for person in answer], boxes, atol=1e-6)
    np.testing.assert_allclose([person["score"] for person in answer], scores, atol=1e-6)
    names = list(answer[0]["actions"])
    assert len(names) == 80 and "stand" in names
    found = [list(person["actions"].values()) for person in answer]
    np.testing.assert_allclose(found, actions, atol=1e-6)


@pytest.mark.parametrize(
    "query, content, said",
    [
        ("?second=1", b"text", "this is no video"),
        ("", b"text", "send a video as the body, and its time as ?second=12.5"),
        ("?second=1", b"", "send a video as the body, and its time as ?second=12.5"),
        ("?second=500", None, "second=500: the video ends at 1.3 s"),
        ("?second=-3", None, "second=-3: the video ends at 1.3 s"),
        ("?second=nan", None, "second=nan: the video ends at 1.3 s"),
        ("?second=soon", None, "could not convert string to float: 'soon'"),
    ],
)
def test_a_wrong_request_is_answered(server, tmp_path, query, content, said):
    if content is None:
        write_noise(tmp_path / "noise.mkv")
        content = (tmp_path / "noise.mkv").read_bytes()
    with pytest.raises(urllib.error.HTTPError) as raised:
        post(f"{server}/{query}", content)
    assert raised.value.code == 400 and json.load(raised.value) == {"error": said}
