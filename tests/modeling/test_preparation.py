"""Prepared detectors compute what the detectors they were made of compute."""

import gc
import pickle
import weakref

import pytest
import torch
from small_detectors import QUERY_DETECTORS, small_detector
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from tubedet.layers import FrozenBatchNorm3d
from tubedet.modeling import ClipBatch, prepare_for_inference
from tubedet.modeling.backbone.csn.folded import FoldedBottleneck, FoldedStem

FOLDED = (FoldedStem, FoldedBottleneck)
# The others accept the number of frames they were built for only, or one with as many steps.
ONE_LENGTH = ("SeqFormer", "STMixer", "ClassQueryTubes")
ANY_LENGTH = ("TubeR", "decode", "tubelets", "persons", "SparseRCNN", "ClassQuery")
CASES = [(name, 8) for name in QUERY_DETECTORS]
CASES += [(name, 5) for name in QUERY_DETECTORS if name not in ONE_LENGTH]
CASES += [(name, 1) for name in ANY_LENGTH]


def _trained_detector(name="TubeR", opts=()):
    _, model = small_detector(name, opts=opts)
    return model.double()  # float32 would round as much as some errors change


def _clips(model, num_frames):
    torch.manual_seed(1)
    sizes = ((41, 57), (50, 35))
    clips = [torch.randint(0, 256, (3, num_frames, *size), dtype=torch.uint8) for size in sizes]
    divisor = model.backbone.size_divisibility
    return ClipBatch.from_clips(clips, model.pixel_mean, model.pixel_std, divisor)


def _outputs(model, num_frames=8):
    """What decides about the detections of two clips of different, odd sizes."""
    with torch.no_grad():
        layers = model.predict(_clips(model, num_frames), all_layers=True)
    names = ("action_logits", "person_logits", "boxes", "frame_boxes")
    return [
        getattr(layer, name)
        for layer in layers
        for name in names
        if getattr(layer, name) is not None
    ]


def _assert_equal_outputs(model, prepared, num_frames=8):
    assert any(isinstance(module, FOLDED) for module in prepared.modules())
    clips = _clips(model, num_frames).tensor
    with torch.no_grad():
        features, expected = prepared.backbone(clips), model.backbone(clips)
    assert features.keys() == expected.keys()
    for name, map_ in expected.items():
        error = (features[name] - map_).abs().max()
        assert error <= 1e-12 * map_.abs().max()
    pairs = zip(_outputs(prepared, num_frames), _outputs(model, num_frames), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        assert (theirs[0] - theirs[1]).abs().max() > 1e-4  # between the two clips


@pytest.mark.parametrize("name, num_frames", CASES)
def test_every_architecture_gives_the_same_outputs(name, num_frames):
    model = _trained_detector(name)
    _assert_equal_outputs(model, prepare_for_inference(model), num_frames)


def test_detections_are_the_same():
    model = _trained_detector()
    inputs = [{"clip": torch.randint(0, 256, (3, 8, 39, 61), dtype=torch.uint8)}]
    with torch.no_grad():
        (ours,), (theirs,) = prepare_for_inference(model)(inputs), model(inputs)
    ours, theirs = ours["instances"], theirs["instances"]
    assert len(ours) == len(theirs) > 0
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.action_scores, theirs.action_scores, rtol=0, atol=1e-10)
    boxes = ours.pred_boxes.tensor, theirs.pred_boxes.tensor  # pixels, in float32
    torch.testing.assert_close(*boxes, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["TubeR", "D4", "SparseRCNN"])
def test_all_weights_but_the_folded_ones_are_shared(name):
    model = _trained_detector(name)
    prepared = prepare_for_inference(model)
    own, folded = model.state_dict(keep_vars=True), prepared.state_dict(keep_vars=True)
    kept = [key for key in own if key in folded]
    assert all(folded[key] is own[key] for key in kept)
    convolutions = [m for m in model.modules() if hasattr(m, "for_inference")]
    replaced = {
        id(p) for module in convolutions for p in module.state_dict(keep_vars=True).values()
    }
    assert {key for key in own if key not in folded} == {
        key for key, value in own.items() if id(value) in replaced
    }
    storages = {value.data_ptr() for value in own.values()}
    assert all(folded[key].data_ptr() not in storages for key in folded if key not in own)
    assert model.pixel_mean is prepared.pixel_mean


@pytest.mark.parametrize("name", ["TubeR", "D4", "SeqFormer", "SparseRCNN"])
def test_devices_and_precision_are_those_of_the_model(name):
    model = small_detector(name)[1].to("meta", torch.float64)
    prepared = prepare_for_inference(model)
    assert any(isinstance(module, FOLDED) for module in prepared.modules())
    tensors = [*prepared.parameters(), *prepared.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float64}


def test_the_model_stays_as_it_is_and_trains_on(make_clip_input):
    model = _trained_detector().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    prepared = prepare_for_inference(model)
    assert not any(module.training for module in prepared.modules())
    assert all(module.training for module in model.modules())
    _outputs(prepared)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)

    inputs = [make_clip_input(8, 32, 40, model.num_actions)]
    expected = _outputs(prepared)
    optimizer = torch.optim.SGD(model.backbone.parameters(), lr=0.1)
    sum(model(inputs).values()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.backbone.parameters())
    optimizer.step()
    # The backbone of the copy is that of the moment it was made; a new one has what was learned.
    assert all(torch.equal(a, b) for a, b in zip(_outputs(prepared), expected))
    _assert_equal_outputs(model.eval(), prepare_for_inference(model))
    assert not torch.allclose(_outputs(model)[0], expected[0], rtol=0, atol=1e-4)


def test_group_norms_stay():
    # 256 channels at least, for 32 groups in all of its norms
    opts = ["MODEL.CSN.NORM", "GN", "MODEL.CSN.WIDTH_MULTIPLIER", 0.5]
    model = _trained_detector(opts=opts)
    prepared = prepare_for_inference(model)
    assert not any(isinstance(module, FOLDED) for module in prepared.modules())
    assert prepared.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(_outputs(prepared), _outputs(model)))


@pytest.mark.parametrize("freeze_at", [1, 3, 5])
def test_frozen_stages_are_folded_too(freeze_at):
    model = _trained_detector(opts=["MODEL.BACKBONE.FREEZE_AT", freeze_at])
    assert any(isinstance(module, FrozenBatchNorm3d) for module in model.modules())
    prepared = prepare_for_inference(model)
    assert not any(isinstance(module, FrozenBatchNorm3d) for module in prepared.modules())
    _assert_equal_outputs(model, prepared)


def test_a_distributed_model_is_unwrapped(tmp_path):
    model = _trained_detector()
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        wrapped = DistributedDataParallel(model)
        prepared = prepare_for_inference(wrapped)
        assert type(prepared) is type(model)
        _assert_equal_outputs(model, prepared)
        assert wrapped.module is model and wrapped.training
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", QUERY_DETECTORS)
def test_prepared_for_autocast_the_weights_are_cast_once(name):
    _, model = small_detector(name)
    model.eval()
    clips, outputs, casts = _clips(model, 8), [], []
    for dtype in (None, torch.bfloat16):
        prepared = prepare_for_inference(model, dtype)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), CastCounter() as counter:
            (layer,) = prepared.predict(clips)
        outputs.append(layer)
        casts.append(counter.casts)
    # The learned pooling adds a bias, which autocast leaves in float32.
    most = 0.1 if name == "decode" else 0.0
    for field in ("boxes", "action_logits", "person_logits"):
        first, second = (getattr(output, field) for output in outputs)
        assert (first is None) == (second is None)
        if first is not None:
            torch.testing.assert_close(first, second, rtol=0, atol=most)
    assert casts[1] < 0.6 * casts[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())


class CastCounter(TorchDispatchMode):
    """Counts conversions between precisions."""

    casts = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count and compute."""
        if func is torch.ops.aten._to_copy.default:
            self.casts += 1
        return func(*args, **(kwargs or {}))


def test_graphs_are_recorded_by_prepared_detectors():
    model = _trained_detector()
    assert model._recorded is None
    prepared = prepare_for_inference(model)
    again = prepare_for_inference(prepared)
    assert None is not again._recorded is not prepared._recorded is not None
    assert pickle.loads(pickle.dumps(prepared))._recorded is not None
    gone = weakref.ref(prepared)
    gc.disable()  # GPU memory does not start it
    try:
        del prepared
        assert gone() is None
    finally:
        gc.enable()
    model = _trained_detector(opts=["MODEL.CUDA_GRAPHS", False])
    assert prepare_for_inference(model)._recorded is None
