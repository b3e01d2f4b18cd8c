"""ONNX detectors as a source of person boxes, with sessions that answer with known arrays."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tubedet.errors import UserError
from tubedet.inference.person_boxes import OnnxPersons

IMAGE = np.zeros((100, 200, 3), np.uint8)


class Session:
    """What onnxruntime's session is, as far as it is used; keeps its last input."""

    def __init__(self, shape, outputs):
        self.shape, self.outputs = shape, outputs

    def get_inputs(self):
        return [SimpleNamespace(name="images", shape=self.shape)]

    def get_outputs(self):
        return [SimpleNamespace(name=str(i)) for i in range(len(self.outputs))]

    def run(self, names, inputs):
        assert names is None
        self.seen = inputs["images"]
        return self.outputs


def yolo_output(rows, num_classes=80):
    """(1, 4 + C, N) with person and second-class scores."""
    output = np.zeros((1, 4 + num_classes, len(rows)), np.float32)
    for k, (box, person, other) in enumerate(rows):
        output[0, :4, k], output[0, 4, k], output[0, 5, k] = box, person, other
    return output


def test_yolo_is_decoded_and_overlapping_boxes_are_dropped():
    output = yolo_output(
        [
            ((320, 160, 64, 128), 0.875, 0.0),
            ((322, 160, 64, 128), 0.75, 0.0),  # the same person
            ((96, 96, 32, 64), 0.5, 0.0),
            ((480, 160, 64, 64), 0.0, 0.99),  # something else
            ((630, 160, 64, 64), 0.25, 0.0),  # reaches beyond the picture
        ]
    )
    session = Session([1, 3, 640, 640], [output])
    rows = OnnxPersons("yolo.onnx", session=session)(IMAGE)
    # 200x100 is enlarged by 3.2 to 640x320.
    np.testing.assert_allclose(
        rows,
        [
            [90, 30, 110, 70, 0.875],
            [25, 20, 35, 40, 0.5],
            [186.875, 40, 200, 60, 0.25],
        ],
        atol=1e-5,
    )
    assert session.seen.shape == (1, 3, 640, 640) and session.seen.dtype == np.float32
    assert session.seen[0, :, :320].max() == 0.0
    np.testing.assert_allclose(session.seen[0, :, 320:], 114 / 255)


def test_a_yolo_of_any_size_gets_its_usual_one():
    session = Session(["batch", 3, "height", "width"], [yolo_output([])])
    assert OnnxPersons("yolo.onnx", session=session)(IMAGE).shape == (0, 5)
    assert session.seen.shape == (1, 3, 640, 640)


@pytest.mark.parametrize("batched", [True, False])
def test_boxes_labels_and_scores_come_in_any_order(batched):
    labels = np.array([1, 3, 1], np.int64)
    scores = np.array([0.75, 0.5, 0.25], np.float32)
    boxes = np.array([[20, 10, 100, 50], [0, 0, 9, 9], [0, 0, 200, 100]], np.float32)
    outputs = [x[None] if batched else x for x in (labels, scores, boxes)]
    session = Session([3, "height", "width"], outputs)
    rows = OnnxPersons("detector.onnx", session=session)(IMAGE)
    assert rows.tolist() == [[20, 10, 100, 50, 0.75], [0, 0, 200, 100, 0.25]]
    assert session.seen.shape == (3, 100, 200)
    assert len(OnnxPersons("detector.onnx", session=session, person=3)(IMAGE)) == 1


def test_a_single_box_is_read_too():
    outputs = [np.array([[20, 10, 100, 50]], np.float32), np.array([1]), np.array([0.5], "f4")]
    session = Session([1, 3, 50, 100], outputs)
    # 200x100 is made half as large.
    assert OnnxPersons("d.onnx", session=session)(IMAGE).tolist() == [[40, 20, 200, 100, 0.5]]
    assert session.seen.shape == (1, 3, 50, 100)


@pytest.mark.parametrize(
    ("shape", "outputs", "message"),
    [
        ([1, 3, 64, 64], [np.zeros(1)] * 2, "1 inputs and 2 outputs; expected one picture"),
        ([1, 10], [np.zeros(1)], "1 inputs and 1 outputs; expected one picture"),
        ([1, 3, 64, 64], [np.zeros((1, 4, 9))], r"outputs \(1, 4, 9\); expected YOLO's"),
        ([1, 3, 64, 64], [np.zeros((2, 4))] * 3, r"outputs \(2, 4\), .*; expected boxes, labels"),
    ],
)
def test_fault_other_inputs_and_outputs_are_refused(shape, outputs, message):
    with pytest.raises(UserError, match=f"^d.onnx: {message}"):
        OnnxPersons("d.onnx", session=Session(shape, outputs))(IMAGE)


def test_fault_without_onnxruntime_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError) as caught:
        OnnxPersons("d.onnx")
    assert str(caught.value) == (
        "d.onnx: an ONNX detector needs onnxruntime; pip install 'tubedet[onnx]'"
    )


def test_a_real_file_runs(tmp_path):
    """A file whose boxes come from the picture: its mean decides the score."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, numbers = onnx.helper, onnx.TensorProto
    boxes = np.array([[20, 10, 100, 50]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["scores"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Identity", ["b"], ["boxes"]),
        helper.make_node("Identity", ["l"], ["labels"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", numbers.FLOAT, [1, 3, "h", "w"])],
        [
            helper.make_tensor_value_info("boxes", numbers.FLOAT, [1, 4]),
            helper.make_tensor_value_info("labels", numbers.INT64, [1]),
            helper.make_tensor_value_info("scores", numbers.FLOAT, [1]),
        ],
        [
            onnx.numpy_helper.from_array(boxes, "b"),
            onnx.numpy_helper.from_array(np.array([1], np.int64), "l"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "d.onnx")
    rows = OnnxPersons(tmp_path / "d.onnx")(IMAGE + 51)
    np.testing.assert_allclose(rows, [[20, 10, 100, 50, 0.2]], atol=1e-4)
    (tmp_path / "bad.onnx").write_text("no model")
    with pytest.raises(UserError, match="bad.onnx: onnxruntime cannot read it: "):
        OnnxPersons(tmp_path / "bad.onnx")
