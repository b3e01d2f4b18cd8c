import pytest
import torch
from detectron2.modeling import build_model

from tubedet.engine import load_config
from tubedet.inference.clip_inference import ClipInference

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    options = ["MODEL.DEVICE", "cpu", "MODEL.TUBER.PERSON_THRESH", "0.0"]
    return build_model(load_config(CONFIG, options))


@pytest.fixture
def inputs(make_clip_input):
    return [make_clip_input(8, 32, 40, 80, seed=seed) for seed in range(2)]


def test_the_output_is_that_of_the_model(model, inputs):
    model.train()
    found = ClipInference(model, batch_size=2)(inputs)
    with torch.no_grad():
        expected = [output["instances"] for output in model.eval()(inputs)]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.action_scores, other.action_scores)
        assert torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        # Unlike tensors of inference mode they may be changed and saved.
        one.action_scores.mul_(0.5)


def test_autocast(model, inputs):
    dtypes = []
    hook = model.backbone.register_forward_hook(
        lambda module, inputs, outputs: dtypes.append(next(iter(outputs.values())).dtype)
    )
    try:
        (exact,) = ClipInference(model)(inputs[:1])
        (rough,) = ClipInference(model, amp="bfloat16")(inputs[:1])
    finally:
        hook.remove()
    assert dtypes == [torch.float32, torch.bfloat16]
    assert {rough.scores.dtype, rough.pred_boxes.tensor.dtype} == {torch.float32}
    assert 0 < (exact.action_scores - rough.action_scores).abs().max() < 0.05


def test_compiled_batches_have_one_size(model, inputs, monkeypatch):
    compiled, sizes = [], []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compiled.append((self, options))
    )
    names = list(model.state_dict())
    detector = ClipInference(model, compile=True, batch_size=3)
    assert compiled == [(model.backbone, {"dynamic": False})]
    assert list(model.state_dict()) == names
    hook = model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    try:
        found = detector(inputs)
    finally:
        hook.remove()
    assert sizes == [3] and len(found) == 2


def test_wrong_options_are_refused(model):
    with pytest.raises(ValueError, match='amp="float16" needs a GPU; on a CPU use "bfloat16"'):
        ClipInference(model, amp="float16")
    with pytest.raises(ValueError, match='amp must be "float16", "bfloat16" or None, got \'half\''):
        ClipInference(model, amp="half")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        ClipInference(model, batch_size=0)
