import pytest
import torch

from tubedet.modeling.heads import BoxHead


@pytest.fixture
def head():
    torch.manual_seed(0)
    return BoxHead(16)


def test_absolute_boxes_are_a_perceptron_with_a_sigmoid(head):
    x = torch.randn(2, 5, 16)
    first, second, last = head.layers
    expected = last(second(first(x).relu()).relu()).sigmoid()
    torch.testing.assert_close(head(x), expected)


def test_refined_boxes_move_references_before_the_sigmoid(head):
    x, references = torch.randn(2, 5, 16), torch.rand(2, 5, 4) * 0.8 + 0.1
    delta = head.delta(x)
    expected = (delta + (references / (1 - references)).log()).sigmoid()
    torch.testing.assert_close(head.refine(x, references), expected)
    # Points give the centre only.
    boxes = head.refine(x, references[..., :2])
    torch.testing.assert_close(boxes[..., :2], expected[..., :2])
    torch.testing.assert_close(boxes[..., 2:], delta[..., 2:].sigmoid())


def test_references_at_the_border_stay_finite(head):
    references = torch.tensor([[0.0, 1.0, 0.0, 1.0]], requires_grad=True)
    boxes = head.refine(torch.randn(1, 16), references)
    boxes.sum().backward()
    assert boxes.isfinite().all() and references.grad.isfinite().all()
    assert (boxes[0, [0, 2]] < 1e-4).all() and (boxes[0, [1, 3]] > 1 - 1e-4).all()


def test_start_at_references(head):
    head.start_at_references(-2.0)
    points = torch.rand(3, 2) * 0.8 + 0.1
    boxes = head.refine(torch.randn(3, 16), points)
    expected = torch.cat((points, torch.full((3, 2), -2.0).sigmoid()), 1)
    torch.testing.assert_close(boxes, expected)


def test_boxes_under_autocast_are_finer_than_a_pixel(head):
    """The last layer and what follows are in float32, given what the layers before computed."""
    x, references = torch.randn(1000, 16), torch.rand(1000, 4) * 0.8 + 0.1
    with torch.autocast("cpu", torch.bfloat16):
        hidden = head.layers[1](head.layers[0](x).relu()).relu()
        boxes, refined = head(x), head.refine(x, references)
    assert hidden.dtype == torch.bfloat16
    delta = hidden.double() @ head.layers[2].weight.double().T + head.layers[2].bias
    expected = (delta + references.double().logit()).sigmoid()
    torch.testing.assert_close(boxes, delta.sigmoid().float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(refined, expected.float(), rtol=0, atol=1e-6)
    steps = boxes.flatten().unique().diff()
    assert steps.min() < 1e-6 and boxes.dtype == refined.dtype == torch.float32


def test_absolute_boxes_are_at_least_float32(head):
    x = torch.randn(3, 16)
    assert head.double()(x.double()).dtype == torch.float64
    assert head.bfloat16()(x.bfloat16()).dtype == torch.float32


def test_refined_boxes_are_at_least_float32(head):
    x, references = torch.randn(3, 16), torch.rand(3, 4)
    assert head.to(torch.bfloat16).refine(x.bfloat16(), references).dtype == torch.float32
    assert head.double().refine(x.double(), references).dtype == torch.float64
