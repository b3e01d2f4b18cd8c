"""Detections as tensors against the detections of the model."""

import pytest
import torch
from small_detectors import QUERY_DETECTORS, VIT_ARCHITECTURES, small_detector
from torch import nn

from tubedet.export import ClipProgram, ExportError
from tubedet.export.max_pooling import AnySizeMaxPool3d
from tubedet.export.verification import detections
from tubedet.modeling.heads.dynamic_head import RegionPooler


@pytest.mark.parametrize("name", [*QUERY_DETECTORS, *VIT_ARCHITECTURES])
@pytest.mark.parametrize("size", [(2, 48, 64), (1, 43, 61)], ids=str)
def test_outputs_are_the_models_detections(name, size):
    _, model = small_detector(name)
    batch, height, width = size
    clips = torch.randint(0, 256, (batch, 3, 8, height, width), dtype=torch.uint8)
    with torch.no_grad():
        found = ClipProgram(model)(clips)
    expected = detections(model, clips)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    boxes, scores, action_scores, all_action_scores = found
    assert scores.shape == boxes.shape[:2] == action_scores.shape[:2]
    assert action_scores.shape[2] == model.num_actions
    # What would be the same for all queries or clips shows no order of them.
    assert boxes.std(1).max() > 1e-4
    assert batch == 1 or (all_action_scores[0] - all_action_scores[1]).abs().max() > 1e-4
    results = model([{"clip": clip} for clip in clips])
    gated = torch.stack([x["instances"].action_scores for x in results])
    torch.testing.assert_close(action_scores, gated, rtol=0, atol=1e-5)


def test_the_threshold_hides_actions_in_one_output_only():
    _, model = small_detector("TubeR", own_backbone=False, opts=["MODEL.TUBER.PERSON_THRESH", 1.0])
    clips = torch.randint(0, 256, (1, 3, 8, 48, 64), dtype=torch.uint8)
    with torch.no_grad():
        _, _, action_scores, all_action_scores = ClipProgram(model)(clips)
    assert (action_scores == 0).all() and (all_action_scores > 0).all()
    detections(model, clips)
    assert model.person_thresh == 1.0


def test_the_model_stays_as_it_is_and_weights_are_not_copied():
    _, model = small_detector("SparseRCNN")
    program = ClipProgram(model.train())
    assert isinstance(model.head.box_pooler, RegionPooler) and model.training
    assert not program.model.training
    pools = [[x for x in y.modules() if isinstance(x, nn.MaxPool3d)] for y in (model, program)]
    assert [[type(x) for x in found] for found in pools] == [[nn.MaxPool3d], [AnySizeMaxPool3d]]
    pointers = {x.data_ptr() for x in model.parameters()}
    assert {x.data_ptr() for x in program.parameters()} == pointers


def test_what_cannot_be_exported_is_said():
    _, model = small_detector("SparseRCNN", opts=["MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 0])
    with pytest.raises(ExportError, match="POOLER_SAMPLING_RATIO"):
        ClipProgram(model)
    _, model = small_detector("RoI")
    with pytest.raises(ExportError, match="takes boxes beside clips: use BoxProgram"):
        ClipProgram(model)
    with pytest.raises(ExportError, match="MODEL.MEMORY.ENABLED is True; set it to False"):
        ClipProgram(small_detector("TubeR", opts=["MODEL.MEMORY.ENABLED", True])[1])
    with pytest.raises(ExportError, match="Linear is not tubedet's"):
        ClipProgram(nn.Linear(1, 1))
