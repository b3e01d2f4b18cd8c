import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from tubedet.engine.evaluation_precision import EvaluatedModel, evaluation_dtype, on_cpu
from tubedet.errors import UserError


class _Product(nn.Module):
    """Returns the precision of a matrix product beside its value."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, inputs):
        outputs = []
        for item in inputs:
            product = self.layer(item["clip"])
            self.dtype = product.dtype
            boxes = Boxes(product.float())
            outputs.append({"instances": Instances((4, 8), pred_boxes=boxes)})
        return outputs


@pytest.mark.parametrize("name, dtype", [("", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_model_runs_in_the_precision_wanted(name, dtype):
    model = _Product().eval()
    inputs = [{"clip": torch.randn(2, 8)}]
    evaluated = EvaluatedModel(model, evaluation_dtype(name, "cpu"))
    with torch.no_grad():
        (found,) = evaluated(inputs)
        assert model.dtype == dtype
        (expected,) = model(inputs)
    difference = (
        found["instances"].pred_boxes.tensor - expected["instances"].pred_boxes.tensor
    ).abs()
    assert difference.max() == 0 if dtype == torch.float32 else 0 < difference.max() < 0.05
    assert not evaluated.eval().training and not model.training


def test_precisions_that_cannot_be_had():
    with pytest.raises(UserError, match="TEST.AMP is 'half'; choose one of"):
        evaluation_dtype("half", "cuda")
    with pytest.raises(UserError, match="TEST.AMP float16 needs a GPU"):
        evaluation_dtype("float16", "cpu")
    assert evaluation_dtype("float16", "cuda:1") == torch.float16


def test_results_of_all_clips_are_waited_for_once(monkeypatch):
    notes = []

    class Stream:
        def synchronize(self):
            notes.append("wait")

    to = torch.Tensor.to

    def noted_to(self, device, **options):
        if device != "cpu":
            return to(self, device, **options)
        notes.append(options)
        return torch.zeros(self.shape)

    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: Stream())
    boxes = torch.ones(3, 4, device="meta")
    outputs = [{"instances": Instances((4, 8), pred_boxes=Boxes(boxes))} for _ in range(5)]
    monkeypatch.setattr(torch.Tensor, "to", noted_to)
    copies = on_cpu(outputs)
    assert notes == [{"non_blocking": True}] * 5 + ["wait"]
    assert copies[4]["instances"].pred_boxes.tensor.device.type == "cpu"
    notes.clear()
    on_cpu(copies)
    assert "wait" not in notes
