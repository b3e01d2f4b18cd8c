"""Matching costs and focal losses against stored outputs of the official Sparse R-CNN."""

import numpy as np
import pytest
import torch.nn.functional as F
from reference_cases import BLOCKS, ReferenceCase, assert_close
from torchvision.ops import box_convert

from tubedet.engine import load_config
from tubedet.modeling import ClipTarget, LayerOutput, SetCriterion

NUM_STAGES, NUM_IMAGES = 4, 3


@pytest.fixture(scope="module")
def case():
    return ReferenceCase(BLOCKS / "sparse_matcher_criterion")


@pytest.fixture(scope="module")
def criterion():
    """That of the base config, which has the official values."""
    return SetCriterion(load_config("configs/Base-SparseRCNN.yaml"))


@pytest.fixture
def predictions(case):
    """Leaves (logits, boxes in pixels) and the layers made of them."""
    logits = case.tensor("in/pred_logits").requires_grad_()
    boxes = case.tensor("in/pred_boxes").requires_grad_()
    size = case.tensor("in/images_whwh")[:, None]
    layers = [
        LayerOutput(action_logits=logits[i], boxes=box_convert(boxes[i] / size, "xyxy", "cxcywh"))
        for i in range(NUM_STAGES)
    ]
    return logits, boxes, layers


@pytest.fixture
def targets(case):
    targets = []
    for b, size in enumerate(case.tensor("in/images_whwh")):
        boxes = case.tensor(f"in/target{b}/boxes_xyxy") / size
        actions = F.one_hot(case.tensor(f"in/target{b}/labels"), case.meta["num_classes"]).double()
        targets.append(ClipTarget(box_convert(boxes, "xyxy", "cxcywh"), actions))
    return targets


def test_costs_and_matches_equal_the_published(case, criterion, predictions, targets):
    columns = np.cumsum([0] + [len(t.boxes) for t in targets])
    for stage, layer in enumerate(predictions[2]):
        pairs = criterion.match(layer, targets)
        cost = criterion.cost(layer, targets)
        for b, (rows, matched) in enumerate(pairs):
            name = f"stage{stage}/image{b}"
            own = cost[b, :, columns[b] : columns[b + 1]]
            assert_close(own, case.outputs[f"out/cost/{name}"], 1e-5)
            expected = case.outputs[f"out/match/{name}"].tolist()
            assert [rows.tolist(), matched.tolist()] == expected
    assert len(targets) == NUM_IMAGES and len(targets[1].boxes) == 0


def test_losses_and_gradients_equal_the_published(case, criterion, predictions, targets):
    logits, boxes, layers = predictions
    losses = criterion(layers, targets)
    assert len(losses) == 3 * NUM_STAGES
    for name, value in losses.items():
        weight = case.meta["weight_dict"][name.rstrip("_012")]
        expected = weight * case.outputs[f"out/loss/{name}"].item()
        assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-5), name
    total = sum(losses.values())
    assert total.item() == pytest.approx(case.outputs["out/loss_total"].item(), rel=1e-5)
    total.backward()
    assert_close(logits.grad, case.outputs["out/grad_logits"], 1e-5)
    assert_close(boxes.grad, case.outputs["out/grad_boxes"], 1e-5)
