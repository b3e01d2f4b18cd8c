"""A classifier of given boxes as tensors, as a traced program and in ONNX."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from small_detectors import small_detector

from tubedet.export import FORMATS, BoxProgram, ClipShape, compare, trace_detector

RULES = ["MODEL.ROI_ACTION.INCLUSIVE_PIXELS", True, "MODEL.ROI_ACTION.SCORE_TIMES_BOX", True]
RULES += ["MODEL.ROI_ACTION.BOX_SCORE_THRESH", 0.5, "MODEL.ROI_ACTION.BOX_EXTENSION", [0.2, 0.1]]
PUBLISHED = [*RULES, "MODEL.ROI_ACTION.POOLER_ALIGNED", False]
EXCLUSIVE = [*RULES, "MODEL.ROI_ACTION.POOLER_ALIGNED", True, "MODEL.EXCLUSIVE_ACTIONS", True]


def test_boxes_that_detection_leaves_out_get_no_actions():
    model = varied(PUBLISHED)
    clips = torch.randint(0, 256, (2, 3, 8, 40, 80), dtype=torch.uint8)
    rows = [
        [1, 0.1, 0.2, 0.5, 0.9],
        [0, 0.25, -0.5, 1.5, 0.5],  # cut at three borders
        [1, 0.1, 0.2, 0.5, 0.9],  # a small score
        [0, 1.1, 0.2, 1.5, 0.9],  # beyond the right border
    ]
    scores = torch.tensor([0.9, 0.6, 0.4, 0.9])
    with torch.no_grad():
        found = BoxProgram(model)(clips, torch.tensor(rows), scores)
    boxes, told, actions, all_actions = found
    cut = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.25, 0, 1, 0.5], [0.1, 0.2, 0.5, 0.9]])
    torch.testing.assert_close(boxes[:3], cut)
    assert torch.equal(told, scores) and (all_actions > 0).all()
    assert (actions[2:] == 0).all() and torch.equal(actions[:2], all_actions[:2])
    torch.testing.assert_close(all_actions[2] / 0.4, all_actions[0] / 0.9)
    for index, row in ((1, 0), (0, 1)):
        given = Instances((40, 80), scores=scores[[row]])
        given.proposal_boxes = Boxes(torch.tensor([rows[row][1:]]) * torch.tensor([80, 40, 80, 40]))
        with torch.no_grad():
            (result,) = model([{"clip": clips[index], "proposals": given}])
        torch.testing.assert_close(result["instances"].action_scores[0], actions[row])


def varied(opts):
    """A small model whose actions differ from box to box."""
    _, model = small_detector("RoI", own_backbone=False, opts=opts)
    model.action_head.fc.weight.data *= 30
    return model


def test_actions_are_the_models_for_boxes_of_all_clips_in_any_order():
    model, shape = varied(EXCLUSIVE), ClipShape(8)
    with torch.no_grad():
        (found,) = compare(BoxProgram(model), model, shape, [(3, (43, 61))])
    assert found.shape == (3, 3, 8, 43, 61) and found.largest <= 1e-6


def test_a_file_takes_any_batch_size_and_number_of_boxes(tmp_path):
    pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
    model, shape = varied(PUBLISHED), ClipShape(8)
    program = trace_detector(model, shape)
    FORMATS["onnx"].write(program, tmp_path / "model.onnx", {})
    in_onnx, traced = FORMATS["onnx"].open(tmp_path / "model.onnx"), program.module()
    cases = [(1, (48, 64)), (3, (61, 49))]
    clip = torch.randint(0, 256, (1, 3, 8, 48, 64), dtype=torch.uint8)
    corners = torch.tensor([[0, 0, 0, 0.3, 0.4], [0, 0.5, 0.5, 1, 1.0]])
    for run, kind in ((traced, "torch_export"), (in_onnx, "onnx")):
        with torch.no_grad():
            found = compare(run, model, shape, cases)
            nobody = run(clip, torch.zeros(0, 5), torch.zeros(0))
            actions = run(clip, corners, torch.ones(2))[3]
        assert max(d.largest for d in found) <= FORMATS[kind].tolerance
        assert [tuple(x.shape) for x in nobody] == [(0, 4), (0,), (0, 80), (0, 80)]
        assert (actions[0] - actions[1]).abs().max() > 1e-3
