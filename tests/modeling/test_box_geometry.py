"""Extension, jitter and limits of given boxes: by hand, and as the published code."""

import pytest
import torch
from reference_cases import ROI_HEAD, ReferenceCase

from tubedet.modeling.box_geometry import clip_to_frame, extend_boxes, jitter_boxes

SIZE = (50, 100)
BOX = torch.tensor([[20.0, 10.0, 59.0, 29.0]])


@pytest.mark.parametrize(
    "pixel, right, bottom", [(1.0, 99, 49), (0.0, 100, 50), (0.25, 99.75, 49.75)]
)
def test_the_last_place_in_a_frame(pixel, right, bottom):
    boxes = torch.tensor([[-5.0, -1.0, 300.0, 200.0], [140.0, 60.0, 150.0, 70.0]])
    expected = [[0, 0, right, bottom], [right, bottom, right, bottom]]
    assert clip_to_frame(boxes, SIZE, pixel).tolist() == expected


def test_extension_counts_the_last_pixel_as_part_of_a_box():
    """Of 40 x 20 pixels, 10 % and 5 %, half on each side."""
    found = extend_boxes(BOX, (0.1, 0.05), SIZE, 1.0)
    torch.testing.assert_close(found, torch.tensor([[18.0, 9.5, 61.0, 29.5]]))
    found = extend_boxes(BOX, (0.1, 0.05), SIZE, 0.0)
    torch.testing.assert_close(found, torch.tensor([[18.05, 9.525, 60.95, 29.475]]))


def test_an_extended_box_stays_in_the_frame():
    found = extend_boxes(torch.tensor([[1.0, 0.0, 98.0, 49.0]]), (0.1, 0.05), SIZE, 1.0)
    assert found.tolist() == [[0, 0, 99, 49]]


def test_jitter_moves_sides_between_its_bounds():
    low = jitter_boxes(BOX, torch.zeros(4, 1), (0.2, 0.1), (0.1, 0.05), SIZE, 1.0)
    high = jitter_boxes(BOX, torch.ones(4, 1), (0.2, 0.1), (0.1, 0.05), SIZE, 1.0)
    torch.testing.assert_close(low, torch.tensor([[12.0, 8.0, 55.0, 28.0]]))
    torch.testing.assert_close(high, torch.tensor([[24.0, 11.0, 67.0, 31.0]]))


def test_a_jittered_box_keeps_a_pixel_within_the_frame():
    boxes = torch.tensor([[98.0, 48.0, 99.0, 49.0]])
    uniform = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    found = jitter_boxes(boxes, uniform, (0.2, 0.1), (0.9, 0.9), SIZE, 1.0)
    assert found.tolist() == [[98.0, 48.0, 99.0, 49.0]]


@pytest.mark.parametrize("name", ["videomae_roi", "umt_roi"])
def test_boxes_are_exactly_the_published(name):
    case = ReferenceCase(ROI_HEAD / name)
    seen = 0
    for run in case.runs:
        for b, size in enumerate(case.meta["runs"][run]["sizes"]):
            boxes, extended, uniform, jittered = (
                case.tensor(f"{run}/{key}{b}", torch.float32)
                for key in ("in/boxes", "out/extended", "in/jitter_u", "train/jittered")
            )
            assert torch.equal(extend_boxes(boxes, (0.1, 0.05), size, 1.0), extended)
            found = jitter_boxes(boxes, uniform, (0.2, 0.1), (0.1, 0.05), size, 1.0)
            assert torch.equal(found, jittered)
            seen += len(boxes)
    assert seen > 5
