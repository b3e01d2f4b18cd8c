import torch
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

from tubedet.layers import corners, generalized_iou


def _boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 0.6
    side = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 0.6 + 0.01
    return torch.cat((corner, corner + side), 1)


def test_corners_and_their_gradients_are_those_of_torchvision():
    own = _boxes(200, 4).view(4, 50, 4).requires_grad_()
    theirs = own.detach().clone().requires_grad_()
    found, expected = corners(own), box_convert(theirs, "cxcywh", "xyxy")
    assert torch.equal(found, expected)
    for result in (found, expected):
        (result * torch.arange(4.0)).square().sum().backward()
    torch.testing.assert_close(own.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_values_and_gradients_are_those_of_torchvision():
    own = [_boxes(200, seed).requires_grad_() for seed in (0, 1)]
    theirs = [x.detach().clone().requires_grad_() for x in own]
    found, loss = 1 - generalized_iou(*own), generalized_box_iou_loss(*theirs, eps=0)
    assert 20 < int((loss > 1).sum()) < 180  # apart, and overlapping
    torch.testing.assert_close(found, loss, rtol=0, atol=1e-12)
    found.sum().backward()
    loss.sum().backward()
    for x, y in zip(own, theirs):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-10, atol=1e-10)


def test_leading_sides_are_broadcast():
    a, b = _boxes(6, 2).view(2, 3, 4), _boxes(5, 3)
    found = generalized_iou(a[:, :, None], b)
    assert found.shape == (2, 3, 5)
    expected = generalized_box_iou(a.flatten(0, 1), b).view(2, 3, 5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_known_values():
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    far = torch.tensor([3.0, 0.0, 4.0, 1.0])  # a hull of 4, of which 2 are in no box
    assert generalized_iou(unit, unit) == 1
    assert generalized_iou(unit, far) == -0.5
