"""Boxes of every architecture under autocast."""

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from small_detectors import QUERY_DETECTORS, small_detector

from tubedet.modeling import ClipBatch
from tubedet.modeling.heads import BoxHead
from tubedet.modeling.transformer import DeformableTransformer
from tubedet.modeling.transformer.stmixer import stage


@pytest.fixture
def made(monkeypatch):
    """Everything from which boxes are made that the last layers give, as it is made."""
    tensors = []
    delta, first_references = BoxHead.delta, DeformableTransformer.first_references
    apply_deltas = Box2BoxTransform.apply_deltas

    def kept(function):
        def call(*args):
            tensors.append(function(*args))
            return tensors[-1]

        return call

    def keep_deltas(transform, deltas, boxes):
        tensors.extend((deltas, boxes))
        return apply_deltas(transform, deltas, boxes)

    def keep_states(state, delta):
        tensors.extend((state, delta))
        return refine_state(state, delta)

    refine_state = stage.refine_state
    monkeypatch.setattr(stage, "refine_state", keep_states)
    monkeypatch.setattr(BoxHead, "delta", kept(delta))
    monkeypatch.setattr(DeformableTransformer, "first_references", kept(first_references))
    monkeypatch.setattr(Box2BoxTransform, "apply_deltas", keep_deltas)
    return tensors


@pytest.mark.parametrize("name", QUERY_DETECTORS)
def test_boxes_are_float32_from_the_last_layer_on(name, made):
    _, model = small_detector(name, own_backbone=False)
    clips = torch.rand(2, 3, 8, 32, 64)
    batch = ClipBatch(clips, torch.zeros(2, 32, 64, dtype=torch.bool), [(32, 64)] * 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        layers = model.predict(batch, all_layers=True)
    boxes = [layer.boxes for layer in layers]
    boxes += [layer.frame_boxes for layer in layers if layer.frame_boxes is not None]
    assert made and {x.dtype for x in (*made, *boxes)} == {torch.float32}
    # Not rounded on the way: hardly any coordinate is a number that bfloat16 knows.
    for x in (*made, *boxes):
        x = x[(x != 0) & (x != 1)]  # where a sigmoid ends, every precision has the number
        known = (x == x.bfloat16().float()).float().mean()
        assert known < 0.1 or x.unique().numel() <= 4, known
    last = layers[-1]
    logits = last.person_logits if last.action_logits is None else last.action_logits
    assert logits.dtype == torch.bfloat16  # autocast was on
