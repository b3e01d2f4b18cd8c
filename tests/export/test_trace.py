"""Traced programs; tests/tools/test_export_model.py has their files."""

import pytest
import torch
from small_detectors import small_detector

from tubedet.export import FORMATS, ClipShape, ExportError, compare, trace, trace_detector
from tubedet.modeling import prepare_for_inference


def test_a_traced_pyramid_detector_pads_and_pools_like_the_model():
    cfg, model = small_detector(
        "SparseRCNN", own_backbone=False, opts=["MODEL.SPARSE_RCNN.NUM_STAGES", 1]
    )
    model.backbone.size_divisibility = 8
    shape = ClipShape.of(model, cfg.INPUT.CLIP.NUM_FRAMES, 2, (43, 61))
    module = trace_detector(model, shape).module()
    with torch.no_grad():
        (found,) = compare(module, model, shape, [(2, (43, 61))])
    assert found.largest <= FORMATS["torch_export"].tolerance


def test_sides_are_multiples_of_any_number():
    axes = trace._side("height", 14)  # of the patches of ViT-g
    assert (axes.min, axes.max) == (42, 4088)
    assert ClipShape(8, multiple=14).rounded_up((64, 98)) == (70, 98)


def test_a_traced_program_takes_any_batch_and_size():
    _, model = small_detector("TubeR", opts=["MODEL.TUBER.DEC_LAYERS", 1])
    model = prepare_for_inference(model)
    shape = ClipShape(8)
    module = trace_detector(model, shape).module()
    # The stem pools maps with even and with odd sides.
    cases = [(1, (48, 64)), (3, (61, 49)), (1, (32, 198))]
    with torch.no_grad():
        found = compare(module, model, shape, cases)
    assert [d.shape for d in found] == [(b, 3, 8, *size) for b, size in cases]
    assert max(d.largest for d in found) <= FORMATS["torch_export"].tolerance


def test_what_the_tracer_refuses_is_named_with_the_version(monkeypatch):
    _, model = small_detector("TubeR", own_backbone=False)
    forward = model.backbone.forward

    def depends_on_values(x):
        return forward(x if x.sum() > 0 else -x)

    model.backbone.forward = depends_on_values
    for version, shape, advice in (
        (torch.__version__, ClipShape(8, 2, (48, 64)), ""),
        ("2.10.7", ClipShape(8), "; a fixed --batch and --size ask less of PyTorch"),
    ):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(ExportError) as caught:
            trace_detector(model, shape)
        (line,) = str(caught.value).splitlines()
        start = f"PyTorch {version} cannot trace TubeR: GuardOnDataDependentSymNode: "
        assert line.startswith(start) and line.endswith(advice)
        assert advice or "--size" not in line


@pytest.mark.parametrize("hidden", [False, True])
def test_a_traced_vit_takes_any_batch_and_size(hidden):
    """Its position table is resized without an operator for bicubic interpolation."""
    opts = ["MODEL.VIT.DEPTH", 1, "MODEL.TUBER.DEC_LAYERS", 1, "MODEL.VIT.MASK_PADDING", hidden]
    _, model = small_detector("TubeR_ViT", opts=opts)
    shape = ClipShape.of(prepare_for_inference(model), 8, None, None)
    program = trace_detector(model, shape)
    assert not any("bicubic" in str(node.target) for node in program.graph.nodes)
    module = program.module()
    cases = [(1, (48, 64)), (3, (64, 48)), (1, (32, 192))]
    with torch.no_grad():
        found = compare(module, model, shape, cases)
    assert [d.shape for d in found] == [(b, 3, 8, *size) for b, size in cases]
    assert max(d.largest for d in found) <= FORMATS["torch_export"].tolerance


def test_a_traced_stmixer_takes_any_batch_and_size():
    _, model = small_detector("STMixer", opts=["MODEL.STMIXER.NUM_STAGES", 1])
    shape = ClipShape.of(prepare_for_inference(model), 8, None, None)
    module = trace_detector(model, shape).module()
    cases = [(1, (48, 64)), (3, (64, 48))]
    with torch.no_grad():
        found = compare(module, model, shape, cases)
    assert [d.shape for d in found] == [(b, 3, 8, *size) for b, size in cases]
    assert max(d.largest for d in found) <= FORMATS["torch_export"].tolerance


def test_a_vit_in_onnx_gives_the_models_numbers(tmp_path):
    pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
    opts = ["MODEL.VIT.DEPTH", 1, "MODEL.TUBER.DEC_LAYERS", 1]
    _, model = small_detector("TubeR_ViT", opts=opts)
    shape = ClipShape(8, None, (48, 64))
    FORMATS["onnx"].write(trace_detector(model, shape), tmp_path / "model.onnx", {})
    run = FORMATS["onnx"].open(tmp_path / "model.onnx")
    (found,) = compare(run, model, shape, [(3, (48, 64))])
    assert found.largest <= FORMATS["onnx"].tolerance


def test_a_traced_class_query_detector_takes_any_batch_and_size():
    opts = ["MODEL.CLASS_QUERY.DEC_LAYERS", 1]
    _, model = small_detector("ClassQuery", own_backbone=False, opts=opts)
    model = prepare_for_inference(model)
    module = trace_detector(model, ClipShape(8)).module()
    cases = [(1, (48, 64)), (3, (61, 49))]
    with torch.no_grad():
        found = compare(module, model, ClipShape(8), cases)
    assert [d.shape for d in found] == [(b, 3, 8, *size) for b, size in cases]
    assert max(d.largest for d in found) <= FORMATS["torch_export"].tolerance


@pytest.mark.parametrize("name", ["ClassQuery_ViT", "ClassQueryTubes"])
def test_a_class_query_detector_in_onnx_gives_the_models_numbers(name, tmp_path):
    """Its trilinear reading is GridSample with five axes, which opset 20 has."""
    pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
    _, model = small_detector(name, opts=["MODEL.CLASS_QUERY.DEC_LAYERS", 1])
    model = prepare_for_inference(model)
    shape = ClipShape(8, 2, (48, 64))
    FORMATS["onnx"].write(trace_detector(model, shape), tmp_path / "model.onnx", {})
    run = FORMATS["onnx"].open(tmp_path / "model.onnx")
    (found,) = compare(run, model, shape, [(2, (48, 64))])
    assert found.largest <= FORMATS["onnx"].tolerance
