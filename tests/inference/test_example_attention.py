"""Pictures of a report with what a model looks at."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from tubedet.data import ClipDatasetMapper
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.evaluation.error_examples import Example
from tubedet.evaluation.report.thumbnails import draw_thumbnails
from tubedet.inference import attention_in_frame
from tubedet.inference.drawing import blend_heat, heat_colour
from tubedet.inference.example_attention import ExampleAttention

WALK = 13  # column


@pytest.fixture(scope="module")
def cfg():
    return load_config("configs/quick_schedules/ClassQuery_toy.yaml", ["MODEL.DEVICE", "cpu"])


@pytest.fixture(scope="module")
def model(cfg):
    torch.manual_seed(2)
    return build_model(cfg).eval()


@pytest.fixture
def record(tmp_path):
    """A key frame of a folder of thirty grey frames, 120x60."""
    for number in range(30):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((60, 120, 3), 90, np.uint8))
    key_frame = {"video_id": "film", "video": str(tmp_path), "fps": 30.0}
    return {**key_frame, "timestamp": 900.5, "start_second": 900.0, "height": 60, "width": 120}


def _persons(cfg, model, record):
    with torch.no_grad():
        (found,) = model.explain([ClipDatasetMapper(cfg, is_train=False)(record)], [WALK])
    return found["instances"]


def _example(box, name="walk"):
    return Example("film", 900.5, name, tuple(box), 0.5, "")


def test_the_person_of_the_box_is_explained(cfg, model, record):
    persons = _persons(cfg, model, record)
    paint = ExampleAttention(cfg, model)
    passes = []
    paint._explain.model.backbone.register_forward_hook(lambda *_: passes.append(1))
    frame = np.full((60, 120, 3), 90, np.uint8)
    boxes = persons.pred_boxes.tensor / torch.tensor([120, 60, 120, 60])
    heats = attention_in_frame(persons)
    for box, heat in zip(boxes.tolist(), heats, strict=True):
        expected = blend_heat(frame, [heat], [heat_colour(0)]).astype(int)
        painted = paint(frame, record, _example(box)).astype(int)
        # Folded norms round differently.
        assert np.abs(painted - expected).max() <= 1
        assert painted[..., 0].max() > 200
    assert len(passes) == 1  # one key frame, one pass
    assert np.abs(heats[0] - heats[1]).max() > 1e-4
    assert paint(frame, record, _example((0, 0, 0.01, 0.01))) is frame


@pytest.mark.parametrize(
    "name, meaning",
    [
        ("ClassQuery", "where the model looks for the action"),
        ("TubeR", "where the model looks for all actions of the person at once"),
    ],
)
def test_pictures_show_the_heat(record, name, meaning):
    cfg = load_config(f"configs/quick_schedules/{name}_toy.yaml", ["MODEL.DEVICE", "cpu"])
    torch.manual_seed(2)
    model = build_model(cfg).eval()
    box = (_persons(cfg, model, record).pred_boxes.tensor[0] / 120).mul_(torch.tensor([1, 2, 1, 2]))
    examples, records = [_example(box.tolist())], {("film", 900.5): record}
    red = []
    for paint in (None, ExampleAttention(cfg, model)):
        (picture,) = draw_thumbnails(examples, records, paint=paint)
        image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).astype(int)
        red.append((image[..., 2] - image[..., 0]).mean())
    assert red[1] > red[0] + 30
    assert paint.meaning == meaning


def test_models_and_actions_that_do_not_fit_are_refused(cfg, model, record):
    other = load_config("configs/quick_schedules/STMixer_toy.yaml", ["MODEL.DEVICE", "cpu"])
    with pytest.raises(UserError, match="^STMixer cannot explain an action"):
        ExampleAttention(other)
    unknown = _example((0, 0, 1, 1), "swing")
    with pytest.raises(UserError, match="no action 'swing'"):
        ExampleAttention(cfg, model)(np.zeros((6, 12, 3), np.uint8), record, unknown)
