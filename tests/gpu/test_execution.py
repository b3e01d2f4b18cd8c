"""Every way to execute a CSN, and a prepared detector, computes what its modules do."""

import pytest
import torch
from random_norms import with_random_norms
from small_detectors import ARCHITECTURES, small_batch, small_detector

from tubedet.modeling import prepare_for_inference
from tubedet.modeling.backbone.csn.csn import CSN
from tubedet.modeling.backbone.csn.execution import EXECUTIONS

pytestmark = pytest.mark.gpu

# Ways to execute: MODEL.CSN.EXECUTION and MODEL.CSN.TRITON.
MODULES = ("modules", False)
OTHERS = [(how, triton) for how in EXECUTIONS[1:] for triton in (False, True)]
# Likewise of whole detectors.
DETECTOR_WAYS = {
    "modules": ["MODEL.CSN.TRITON", False],
    "triton": ["MODEL.CSN.TRITON", True],
    "deformable": ["MODEL.DEFORMABLE_TRITON", True],
}
HALF = (torch.bfloat16, torch.float16)
# Errors that are no more than rounding. In gradients it is larger: it decides about ReLUs.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 2e-3}
SIZES = [(8, 48, 64), (5, 45, 67)]


def built(norm, way):
    """A CSN that was trained a little, in float64."""
    execution, triton = way
    # 256 channels at least, for the 32 groups of all norms
    width = 0.5 if norm == "GN" else 0.125
    sizes = {"depth": 26, "width_multiplier": width, "out_features": ("res2", "res5")}
    torch.manual_seed(0)
    return (
        with_random_norms(CSN(**sizes, norm=norm, execution=execution, triton=triton))
        .double()
        .train()
    )


def trained_once(csn, clips, dtype, device):
    """Maps, gradients and running statistics after a backward pass, in float64 on the CPU."""
    csn = csn.to(device, torch.float32 if dtype in HALF else dtype)
    with torch.autocast(device.type, dtype, enabled=dtype in HALF):
        maps = csn(clips.to(csn.stem.conv.weight))
    generator = torch.Generator().manual_seed(2)
    weights = {key: torch.randn(x.shape, generator=generator) for key, x in maps.items()}
    sum((x.double() * weights[key].to(device)).mean() for key, x in maps.items()).backward()
    gradients = torch.cat([p.grad.flatten() for p in csn.parameters()])
    statistics = {key: x for key, x in csn.named_buffers() if x.is_floating_point()}
    found = {**maps, "gradients": gradients, **statistics}
    return {key: x.detach().cpu().double() for key, x in found.items()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN"])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("way", OTHERS, ids=str)
def test_training_is_as_exact_as_that_of_the_modules(way, dtype, norm, size, device):
    if device.type == "cpu" and dtype == torch.float16:
        pytest.skip("float16 needs a GPU")
    clips = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    exact = trained_once(built(norm, MODULES), clips, torch.float64, torch.device("cpu"))
    plain, other = (
        trained_once(built(norm, some), clips, dtype, device) for some in (MODULES, way)
    )
    assert other.keys() == plain.keys() == exact.keys()
    factor = {torch.float64: 1, torch.float32: 100}.get(dtype, 5)
    for key, x in exact.items():
        errors = [((some[key] - x).norm() / x.norm()).item() for some in (plain, other)]
        rounding = ROUNDING[dtype] * (factor if key == "gradients" else 1)
        assert errors[1] <= 2 * errors[0] + rounding, (key, errors)
        assert dtype in HALF or errors[0] <= 5 * rounding, (key, errors)


@pytest.mark.parametrize("way", DETECTOR_WAYS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prepared_detectors_detect_the_same(name, way, device):
    cfg, model = small_detector(name, opts=DETECTOR_WAYS[way])
    model = model.to(device)
    prepared = prepare_for_inference(model)
    batch = small_batch(cfg, 3)
    with torch.inference_mode():
        expected, found = model(batch), prepared(batch)
    for one, other in zip(found, expected, strict=True):
        one, other = one["instances"], other["instances"]
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-3)
        boxes = one.pred_boxes.tensor, other.pred_boxes.tensor  # pixels
        torch.testing.assert_close(*boxes, rtol=0, atol=0.05)


@pytest.mark.parametrize("way", DETECTOR_WAYS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prepared_detectors_detect_in_half_precision(name, way, amp_dtype, device):
    cfg, model = small_detector(name, opts=DETECTOR_WAYS[way])
    model = model.to(device)
    batch = small_batch(cfg, 3)
    with torch.inference_mode():
        expected = prepare_for_inference(model)(batch)
        with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
            found = prepare_for_inference(model, amp_dtype)(batch)
    for one, other in zip(found, expected, strict=True):
        one, other = one["instances"], other["instances"]
        assert (one.scores - other.scores).abs().mean() < 0.1
        assert torch.isfinite(one.pred_boxes.tensor).all()


@pytest.mark.parametrize("way", DETECTOR_WAYS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recorded_detections_are_those_of_the_detector(name, way, amp_dtype, device):
    cfg, model = small_detector(name, opts=["MODEL.CUDA_GRAPHS", True, *DETECTOR_WAYS[way]])
    model = model.to(device)
    recorded = prepare_for_inference(model, amp_dtype)
    model.cuda_graphs = False
    plain = prepare_for_inference(model, amp_dtype)
    with torch.inference_mode():
        for step, num_clips in enumerate((2, 1, 2, 1, 2)):  # met, recorded and replayed
            batch = small_batch(cfg, num_clips)
            for item in batch:
                item["clip"] = item["clip"].roll(step, dims=-1)  # other pixels every time
            with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
                found, expected = recorded(batch), plain(batch)
            for one, other in zip(found, expected, strict=True):
                one, other = one["instances"], other["instances"]
                torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-4)
                torch.testing.assert_close(
                    one.action_scores, other.action_scores, rtol=0, atol=1e-4
                )
