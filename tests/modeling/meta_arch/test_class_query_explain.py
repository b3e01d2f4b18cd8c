"""Where a detector says that it looks for an action."""

import pytest
import torch
from detectron2.modeling import build_model
from small_class_queries import SMALL_CSN, SMALL_VIT, TUBE, model_of

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.modeling import prepare_for_inference


def _model(*options):
    model = model_of(*options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.2)
    return model


def _inputs(make_clip_input, *sizes):
    return [make_clip_input(8, *size, 4, seed=s) for s, size in enumerate(sizes)]


@pytest.mark.parametrize("body", [SMALL_CSN, SMALL_VIT], ids=["CSN", "ViT"])
@pytest.mark.parametrize("frames", [[], TUBE], ids=["key", "all"])
def test_one_pass_returns_detections_and_attention(body, frames, make_clip_input):
    model = _model(*body, *frames)
    inputs = _inputs(make_clip_input, (64, 96), (64, 96))
    clips = model.batch(inputs)
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        explained = model.explain(inputs, [2, 0])
        assert len(passes) == 1
        detected = model(inputs)
        attention = model.class_attention(clips)
    attention = attention[:, 4] if frames else attention
    for index, (one, other) in enumerate(zip(explained, detected)):
        maps = one["instances"].action_attention
        assert maps.shape == (3, 2, 4, 6)
        torch.testing.assert_close(maps, attention[index, :, [2, 0]])
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(3, 2))
        for name, value in other["instances"].get_fields().items():
            found = one["instances"].get(name)
            if name == "pred_boxes":
                found, value = found.tensor, value.tensor
            torch.testing.assert_close(found, value)
    assert attention.std((-2, -1)).min() > 1e-5


def test_padded_cells_are_left_out(make_clip_input):
    """A clip of half the height has half of the rows, and its weights elsewhere are not moved."""
    model = _model(*SMALL_CSN)
    inputs = _inputs(make_clip_input, (64, 96), (32, 48))
    with torch.no_grad():
        whole, part = (x["instances"].action_attention for x in model.explain(inputs, [1]))
        attention = model.class_attention(model.batch(inputs))[:, :, [1]]
    assert whole.shape == (3, 1, 4, 6) and part.shape == (3, 1, 2, 3)
    torch.testing.assert_close(part, attention[1, :, :, :2, :3])
    assert (part.sum((-2, -1)) < 1).all()


def test_a_model_prepared_for_inference_explains_alike(make_clip_input):
    model = _model(*SMALL_CSN)
    inputs = _inputs(make_clip_input, (64, 96))
    with torch.no_grad():
        (before,) = model.explain(inputs, range(4))
        (after,) = prepare_for_inference(model).explain(inputs, range(4))
    maps = after["instances"].action_attention
    assert maps.shape == (3, 4, 4, 6)
    torch.testing.assert_close(maps, before["instances"].action_attention, atol=1e-4, rtol=1e-4)


def test_unknown_actions_and_other_models_are_refused(make_clip_input):
    model = _model(*SMALL_CSN)
    inputs = _inputs(make_clip_input, (32, 48))
    for action in (-1, 4):
        with pytest.raises(UserError, match=f"there is no action {action}; the model has 0 to 3"):
            model.explain(inputs, [0, action])
    with pytest.raises(UserError, match="PERSON_ONLY is True"):
        _model(*SMALL_CSN, "MODEL.PERSON_ONLY", True).explain(inputs, [0])
    for name in ("D2_TubeR", "RoI"):
        cfg = load_config(f"configs/quick_schedules/{name}_toy.yaml", ["MODEL.DEVICE", "cpu"])
        other = build_model(cfg)
        with pytest.raises(UserError, match=r"^\w+ cannot explain .*; ClassQueryDetector and Tube"):
            other.explain(inputs, [0])
