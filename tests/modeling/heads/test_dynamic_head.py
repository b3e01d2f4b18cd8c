"""The dynamic head against stored outputs of the official Sparse R-CNN."""

import math

import numpy as np
import pytest
import torch
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.structures import Boxes
from reference_cases import BLOCKS, ReferenceCase, assert_close

from tubedet.modeling.heads import DynamicHead
from tubedet.modeling.heads.dynamic_head import DynamicConv, RegionPooler


def _inputs(case):
    """The arrays of a case that are inputs, as leaves of a graph."""
    return {
        name.removeprefix("in/"): case.tensor(name).requires_grad_()
        for name in case.outputs
        if name.startswith("in/")
    }


def test_dynamic_conv_equals_the_published():
    case = ReferenceCase(BLOCKS / "sparse_dynamic_conv")
    conv = DynamicConv(case.meta["hidden_dim"], case.meta["dim_dynamic"], num_cells=7 * 7)
    conv.load_state_dict(case.state_dict())
    conv.double()
    inputs = _inputs(case)
    output = conv(inputs["pro_features"][0], inputs["roi_features"].transpose(0, 1))
    assert_close(output, case.outputs["out/output"], 1e-6)
    (output * inputs["grad_output"]).sum().backward()
    assert_close(inputs["pro_features"].grad, case.outputs["out/grad_pro_features"], 1e-5)
    assert_close(
        inputs["roi_features"].grad.sum(-1),
        case.outputs["out/grad_roi_features_sum_over_channels"],
        1e-5,
    )


def _head(**changes):
    arguments = {
        "num_stages": 3,
        "dim": 64,
        "num_outputs": 13,
        "num_heads": 8,
        "feedforward_dim": 128,
        "dynamic_dim": 16,
        "num_cls": 1,
        "num_reg": 3,
        "dropout": 0.0,
        "strides": [4, 8, 16, 32],
        "pooler_type": "ROIAlignV2",
        "pooler_resolution": 7,
        "pooler_sampling_ratio": 2,
        "canonical_box_size": 224,
        "action_prior": 0.01,
    }
    return DynamicHead(**{**arguments, **changes})


@pytest.fixture(scope="module")
def case():
    return ReferenceCase(BLOCKS / "sparse_dynamic_head")


@pytest.fixture
def head(case):
    head = _head()
    weights = case.state_dict().items()
    head.load_state_dict({k.removeprefix("head."): v for k, v in weights if k.startswith("head.")})
    return head


def test_every_stage_equals_the_published(case, head):
    head.double()
    inputs = _inputs(case)
    proposals = case.state_dict()["init_proposal_features.weight"].double()
    boxes = case.tensor("out/proposal_boxes")
    seen = []  # what goes into and comes out of each stage
    for stage in head.head_series:
        stage.register_forward_hook(lambda _, given, result: seen.append((given, result)))
    outputs = head(
        [inputs[name] for name in ("p2", "p3", "p4", "p5")], boxes, proposals.expand(2, -1, -1)
    )

    regions = seen[0][0][2].transpose(1, 2).unflatten(2, (7, 7))
    assert_close(regions[:, :4], case.outputs["out/roi_stage0_channels0to3"], 1e-6)
    for i, (logits, refined, *_) in enumerate(outputs):
        (_, given_boxes, _), (_, _, features, _) = seen[i]
        levels = assign_boxes_to_levels([Boxes(b) for b in given_boxes], 2, 5, 224, 4)
        assert levels.view(2, -1).tolist() == case.outputs["out/levels"][i].tolist()
        assert_close(logits, case.outputs["out/logits"][i], 1e-5)
        assert_close(refined, case.outputs["out/boxes"][i], 1e-5)
        assert_close(features, case.outputs["out/object_features"][i], 1e-5)
    assert {*case.outputs["out/levels"].flatten().tolist()} == {0, 1, 2, 3}

    total = sum(
        (logits * inputs["grad_logits"][i]).sum() + (refined * inputs["grad_boxes"][i]).sum()
        for i, (logits, refined, *_) in enumerate(outputs)
    )
    total.backward()
    parameters = dict(head.named_parameters(prefix="head"))
    for name in (n for n in case.outputs if n.startswith("out/grad/")):
        key = name.removeprefix("out/grad/")
        if key.endswith("_sum_over_channels"):
            assert_close(inputs[key[:2]].grad.sum(1), case.outputs[name], 1e-5)
        elif key in parameters:
            assert_close(parameters[key].grad, case.outputs[name], 1e-5)


def test_boxes_pass_no_gradient_between_stages():
    torch.manual_seed(0)
    head = _head(num_stages=2)
    boxes = torch.tensor([[[4.0, 4.0, 40.0, 50.0], [10.0, 20.0, 30.0, 60.0]]])
    outputs = head(
        [torch.randn(1, 64, 64 // 2**i, 64 // 2**i) for i in range(4)],
        boxes.requires_grad_(),
        torch.randn(1, 2, 64),
    )
    (second,) = torch.autograd.grad(
        outputs[1][1].sum(), boxes, retain_graph=True, allow_unused=True
    )
    assert second is None
    (first,) = torch.autograd.grad(outputs[0][1].sum(), boxes)
    assert (first != 0).any()


@pytest.mark.parametrize("num_outputs", [4, 64])  # also the last side of other parameters
def test_the_prior_sets_the_classifier_alone(num_outputs):
    torch.manual_seed(0)
    with_prior = _head(num_outputs=num_outputs).state_dict()
    torch.manual_seed(0)
    without = _head(num_outputs=num_outputs, action_prior=None).state_dict()
    changed = {k for k, v in with_prior.items() if not torch.equal(v, without[k])}
    assert changed == {f"head_series.{i}.class_logits.bias" for i in range(3)}
    bias = with_prior["head_series.2.class_logits.bias"]
    torch.testing.assert_close(bias, torch.full((num_outputs,), -math.log(99)))


def test_parameter_count_is_the_published_one():
    with torch.device("meta"):
        head = _head(num_stages=6, dim=256, num_outputs=80, feedforward_dim=2048, dynamic_dim=64)
    assert sum(p.numel() for p in head.parameters()) == 79_412_472


def test_half_precision_maps_keep_float32_boxes(case, head):
    """Rounded to bfloat16, boxes of some hundred pixels would move by up to a pixel."""
    levels = [case.tensor(f"in/{name}", torch.float32) for name in ("p2", "p3", "p4", "p5")]
    boxes = torch.from_numpy(case.outputs["out/proposal_boxes"])
    proposals = case.state_dict()["init_proposal_features.weight"].expand(2, -1, -1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (logits, refined, *_), *_ = head([x.bfloat16() for x in levels], boxes, proposals)
    assert logits.dtype == torch.bfloat16 and refined.dtype == torch.float32
    expected = case.outputs["out/boxes"][0]
    np.testing.assert_allclose(refined, expected, rtol=0, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["ROIAlignV2", "ROIAlign", "ROIPool"])
@pytest.mark.parametrize("num_levels", [1, 4])
def test_regions_are_the_same_without_waiting_for_the_gpu(kind, num_levels):
    torch.manual_seed(0)
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32][:num_levels]
    pooler = RegionPooler(7, scales, 2, kind, canonical_box_size=224)
    levels = [torch.randn(2, 3, 64 >> i, 96 >> i, requires_grad=True) for i in range(num_levels)]
    corner = torch.rand(2, 60, 2) * torch.tensor([384, 256]) - 20  # some leave the clip
    boxes = torch.cat((corner, corner + torch.rand(2, 60, 2).square() * 600), -1)
    boxes[0, 0] = torch.tensor([-5000.0, -5000, -4000, -4000])
    results = []
    for pool in (pooler, pooler.without_waiting):
        regions = pool(levels, boxes)
        results.append((regions, *torch.autograd.grad(regions.square().sum(), levels)))
    assert all(torch.equal(a, b) for a, b in zip(*results))
    assert all(gradient.any() for gradient in results[0][1:])
