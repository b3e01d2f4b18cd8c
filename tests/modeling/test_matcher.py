import itertools

import pytest
import torch

from tubedet.modeling import HungarianMatcher


def _boxes(count, generator):
    centre = torch.rand(count, 2, generator=generator) * 0.6 + 0.2
    return torch.cat((centre, torch.rand(count, 2, generator=generator) * 0.3 + 0.05), 1)


def _giou(a, b):
    ax1, ay1, ax2, ay2 = a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2
    bx1, by1, bx2, by2 = b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2
    inter = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    union = a[2] * a[3] + b[2] * b[3] - inter
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return inter / union - (hull - union) / hull


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_cheapest_of_all_assignments(seed):
    generator = torch.Generator().manual_seed(seed)
    predicted, truth = _boxes(5, generator), _boxes(3, generator)
    prob = torch.rand(5, 1, generator=generator)
    matcher = HungarianMatcher(cost_class=12, cost_bbox=5, cost_giou=2)
    # The clip of interest between two others.
    others = [_boxes(2, generator), _boxes(1, generator)]
    _, (rows, columns), _ = matcher(
        -torch.stack([prob.flip(0), prob, prob / 2]),
        torch.stack([_boxes(5, generator), predicted, _boxes(5, generator)])[:, None],
        [others[0][:, None], truth[:, None], others[1][:, None]],
    )

    def cost(assignment):  # query of each box
        return sum(
            5 * (predicted[q] - truth[n]).abs().sum()
            - 2 * _giou(predicted[q], truth[n])
            - 12 * prob[q, 0]
            for n, q in enumerate(assignment)
        )

    best = min(itertools.permutations(range(5), 3), key=cost)
    assert dict(zip(columns.tolist(), rows.tolist())) == dict(enumerate(best))


def test_no_boxes_and_more_boxes_than_queries():
    generator = torch.Generator().manual_seed(0)
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    queries = _boxes(2, generator)
    (none, _), (rows, _) = matcher(
        torch.rand(2, 2, 4),
        torch.stack([queries] * 2)[:, None],
        [torch.zeros(0, 1, 4), _boxes(4, generator)[:, None]],
    )
    assert len(none) == 0 and rows.tolist() == [0, 1]
    ((rows, columns),) = matcher(torch.rand(1, 2, 0), queries[None, None], [torch.zeros(0, 1, 4)])
    assert len(rows) == len(columns) == 0


def test_nan_is_reported_as_divergence():
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    with pytest.raises(FloatingPointError, match="training diverged"):
        matcher(torch.rand(1, 1, 1), torch.full((1, 1, 1, 4), float("nan")), [torch.rand(1, 1, 4)])


def test_boxes_of_several_frames_count_by_the_mean_over_annotated_ones():
    generator = torch.Generator().manual_seed(0)
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    predicted = torch.stack([_boxes(3, generator) for _ in range(4)])[None]
    truth = torch.stack([_boxes(2, generator) for _ in range(4)], 1)
    valid = torch.tensor([[True, False, True, True], [False, True, False, False]])
    class_cost = torch.rand(1, 3, 2, generator=generator)
    cost = matcher.cost(class_cost, predicted, truth, valid / valid.sum(1, keepdim=True))
    alone = torch.stack(
        [matcher.cost(0 * class_cost, predicted[:, f, None], truth[:, f, None]) for f in range(4)]
    )
    expected = class_cost + torch.stack(
        [alone[[0, 2, 3], :, :, 0].mean(0), alone[1, :, :, 1]], dim=-1
    )
    torch.testing.assert_close(cost, expected)


def test_the_cost_is_at_least_float32():
    generator = torch.Generator().manual_seed(0)
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    predicted, truth = _boxes(3, generator), _boxes(2, generator)
    prob = torch.rand(1, 3, 2, generator=generator)
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        cost = matcher.cost(prob.to(dtype), predicted[None, None].to(dtype), truth[:, None])
        assert cost.dtype == expected


def test_l1_may_be_of_corners():
    generator = torch.Generator().manual_seed(0)
    predicted, truth = _boxes(3, generator), _boxes(2, generator)
    matcher = HungarianMatcher(cost_class=0, cost_bbox=1, cost_giou=0, l1_format="xyxy")
    cost = matcher.cost(torch.zeros(1, 3, 2), predicted[None, None], truth[:, None])
    corners = [
        torch.cat((b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2), 1) for b in (predicted, truth)
    ]
    torch.testing.assert_close(cost[0], (corners[0][:, None] - corners[1]).abs().sum(-1))
    with pytest.raises(ValueError, match="L1_FORMAT is 'xywh'"):
        HungarianMatcher(cost_class=0, cost_bbox=1, cost_giou=0, l1_format="xywh")
