"""Losses of the class-query detector against stored outputs of the published code.

The stored arrays ``out`` are what the published code computes, ``right`` what is meant, without
its slips in tube mode: the factor on matched queries lies ``front_pad`` frames early, several
persons of a frame are paired with boxes in their stored order, and padded frames count.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_cases import LARGE, ReferenceCase, assert_close

from tubedet.engine import load_config
from tubedet.modeling import ClipTarget, LayerOutput, SetCriterion
from tubedet.modeling.action_loss import logits_of_scores
from tubedet.modeling.frame_targets import split_into_frames

FOLDER = LARGE.parent / "class_query"
TUBES = ("cq_criterion_jhmdb", "cq_criterion_ucf")
TERMS = ("loss_ce", "loss_ce_b", "loss_bbox", "loss_giou")
EVALUATION = ["ACTION_LOSS", "bce", "MATCHED_ACTION_WEIGHT", 1.0]
OF_TUBES = [
    *("COST_CLASS", 4.0, "ACTION_LOSS_WEIGHT", 4.0, "PERSON_LOSS_WEIGHT", 3.0),
    *("NO_OBJECT_WEIGHT", 0.5, "LABEL_SMOOTHING", 0.0),
    *("ACTION_LOSS_OF_SCORES", True, "ACTION_FRAME_MEAN", True),
]
needs_reference = pytest.mark.skipif(not FOLDER.exists(), reason="no stored class-query cases")


def _criterion(values=()):
    options = [f"MODEL.CRITERION.{x}" if i % 2 == 0 else x for i, x in enumerate(values)]
    return SetCriterion(load_config("configs/Base-ClassQuery.yaml", options))


def _leaves(case, layer=""):
    """Drawn logits, boxes before the sigmoid and person logits: leaves in float64."""
    names = [f"{name}{layer}" for name in ("logits", "box_logits", "person")]
    return [case.drawn_input(name).double().requires_grad_() for name in names]


def _layer(logits, box_logits, person):
    return LayerOutput(logits, box_logits.sigmoid(), person)


def _unweighted(criterion, losses):
    return {
        name: value / criterion.weights[name.rstrip("_0123456789")]
        for name, value in losses.items()
    }


@pytest.fixture
def ava():
    case = ReferenceCase(FOLDER / "cq_criterion_ava")
    leaves = [_leaves(case, layer) for layer in range(3)]
    targets = [
        ClipTarget(case.tensor(f"in/target{b}_boxes_cxcywh"), case.tensor(f"in/target{b}_labels"))
        for b in range(3)
    ]
    return case, leaves, targets


@needs_reference
def test_losses_and_gradients_on_ava_equal_the_published(ava):
    case, leaves, targets = ava
    assert [len(target.boxes) for target in targets] == [4, 0, 12]
    criterion = _criterion()
    losses = criterion([_layer(*leaf) for leaf in leaves], targets)
    for name, value in _unweighted(criterion, losses).items():
        assert_close(value, case.outputs[f"out/{name}"], 1e-6)
    assert len(losses) == 12
    total = sum(losses.values())
    assert_close(total, case.outputs["out/total"], 1e-6)
    total.backward()
    for layer in (0, 2):
        for name, leaf in zip(("logits", "box_logits", "person"), leaves[layer]):
            expected = case.outputs[f"out/grad_{name}{layer}"]
            assert_close(
                leaf.grad / np.abs(expected).max(), expected / np.abs(expected).max(), 1e-6
            )
    for layer, leaf in enumerate(leaves):
        for b, (rows, columns) in enumerate(criterion.match(_layer(*leaf), targets)):
            expected = case.outputs[f"out/match{layer}_{b}"].tolist()
            assert [rows.tolist(), columns.tolist()] == expected


@needs_reference
def test_the_published_loss_of_an_evaluation_is_a_setting(ava):
    case, leaves, targets = ava
    criterion = _criterion(EVALUATION)
    losses = criterion([_layer(*leaf) for leaf in leaves], targets)
    for name, value in _unweighted(criterion, losses).items():
        assert_close(value, case.outputs[f"out/eval_{name}"], 1e-6)


def _tube(case):
    """Leaves of a clip in tube mode, its target, and which frames are the video's."""
    boxes = case.tensor("in/target_boxes_cxcywh")
    labels = case.tensor("in/target_labels").long()
    num_frames, num_actions = boxes.shape[1], case.meta["dims"]["classes"]
    front, end = case.meta["front_pad"], case.meta["end_pad"]
    annotated = [front <= frame < num_frames - end for frame in range(num_frames)]
    valid = (boxes != 0).any(-1)
    kept = torch.tensor(annotated)
    actions = F.one_hot(labels[:, kept].amin(1), num_actions).double()
    target = ClipTarget(boxes[:, num_frames // 2], actions, boxes, valid & kept, annotated)
    return _leaves(case), target


@needs_reference
@pytest.mark.parametrize("name", TUBES)
def test_losses_of_tubes_equal_what_the_published_code_means(name):
    case = ReferenceCase(FOLDER / name)
    leaves, target = _tube(case)
    criterion = _criterion(OF_TUBES)
    losses = criterion([_layer(*leaves)], [target])
    for term, value in _unweighted(criterion, losses).items():
        assert_close(value, case.outputs[f"right/{term}"], 1e-9)
    assert_close(sum(losses.values()), case.outputs["right/total"], 1e-9)
    layers, targets = split_into_frames([_layer(*leaves)], [target])
    found = [
        [frame, row, column]
        for frame, pair in enumerate(criterion.match(layers[0], targets))
        for row, column in zip(*(x.tolist() for x in pair))
    ]
    assert found == case.outputs["out/match"].tolist()


@needs_reference
@pytest.mark.parametrize("name", TUBES)
def test_the_slips_of_the_published_code_explain_its_losses_of_tubes(name):
    case = ReferenceCase(FOLDER / name)
    leaves, target = _tube(case)
    criterion = _criterion(OF_TUBES)
    front = case.meta["front_pad"]
    num_queries = case.meta["dims"]["queries"]
    # All frames take part in the person loss, on UCF101-24 in the action loss too.
    annotated, target.frame_annotated = target.frame_annotated, None
    losses = _unweighted(criterion, criterion([_layer(*leaves)], [target]))
    assert_close(losses["loss_ce_b"], case.outputs["out/loss_ce_b"], 1e-9)
    # The factor lies on frames that are too early.
    match = case.outputs["out/match"]
    layers, targets = split_into_frames([_layer(*leaves)], [target])
    person = layers[0].person_logits.softmax(-1)[..., 1]
    logits = logits_of_scores(layers[0].action_logits, person)
    wanted = torch.zeros_like(logits)
    for frame, query, column in match:
        wanted[front + frame, query] = targets[front + frame].actions[column]
    rows = torch.from_numpy(match[:, 0] * num_queries + match[:, 1])
    if name == "cq_criterion_jhmdb":  # the loss is of the frames of the video
        kept = torch.tensor(annotated)
        shifted = torch.zeros(logits.shape[:2], dtype=torch.bool)
        shifted.view(-1)[rows] = True
        logits, wanted, shifted = logits[kept], wanted[kept], shifted[kept]
        rows = shifted.flatten().nonzero()[:, 0]
    loss = criterion.action_loss(logits[None], wanted[None], rows, 1.0)
    assert_close(loss[0], case.outputs["out/loss_ce"], 1e-9)
    # Queries in rising order meet the persons of the frame in the order of the file.
    ordered = np.concatenate([np.sort(match[match[:, 0] == f, 2]) for f in np.unique(match[:, 0])])
    distance = [
        layers[0].boxes[front + frame, query] - targets[front + frame].boxes[column]
        for (frame, query, _), column in zip(match, ordered)
    ]
    mean = torch.stack(distance).abs().sum() / len(match)
    assert_close(mean, case.outputs["out/loss_bbox"], 1e-9)
