import numpy as np
import pytest
from detectron2.utils.visualizer import Visualizer

from tubedet.inference.drawing.overlay import OverlayVisualizer, line_width, text_pixels

_RED = (1.0, 0.4, 0.4)


@pytest.fixture
def frame():
    return np.full((120, 200, 3), 90, np.uint8)


def test_boxes_equal_those_of_detectron2(frame):
    ours, theirs = OverlayVisualizer(frame), Visualizer(frame)
    theirs._default_font_size = 4 * 72 / theirs.output.dpi * ours.line_width
    for visualizer in (ours, theirs):
        visualizer.draw_box((20, 30, 90, 100), alpha=0.9, edge_color=_RED)
    difference = np.abs(ours.output.get_image().astype(int) - theirs.output.get_image())
    assert difference.max() <= 3
    assert (ours.output.get_image() != frame).any()


def test_a_reset_removes_the_drawing_and_changes_the_frame(frame):
    canvas = OverlayVisualizer(frame)
    canvas.draw_box((20, 30, 90, 100), edge_color=_RED)
    canvas.draw_label(["stand"], np.array([20, 30, 90, 100]), _RED)
    assert (canvas.output.get_image() != 90).any()
    canvas.output.reset_image(np.full_like(frame, 7))
    assert (canvas.output.get_image() == 7).all()


def test_a_drawing_does_not_depend_on_earlier_ones(frame):
    def draw(canvas):
        canvas.draw_box((20, 60, 90, 100), edge_color=_RED)
        canvas.draw_label(["stand", "hand wave"], np.array([20, 60, 90, 100]), _RED)
        return canvas.output.get_image()

    used = OverlayVisualizer(frame)
    used.draw_box((0, 0, 50, 50))
    used.output.get_image()
    used.output.reset_image(frame)
    assert np.array_equal(draw(used), draw(OverlayVisualizer(frame)))


@pytest.mark.parametrize(
    "box", [(60, 70, 100, 110), (0, 0, 30, 30), (180, 0, 200, 120), (-50, -20, 260, 150)]
)
@pytest.mark.parametrize("lines", [["walk"], ["stand 0.9"] * 4, ["a very long name " * 5] * 30])
def test_labels_lie_inside_of_the_frame_and_cover_their_text(frame, box, lines):
    canvas = OverlayVisualizer(frame)
    x1, y1, x2, y2 = canvas.draw_label(lines, np.array(box, float), _RED)
    assert -1e-6 <= x1 < x2 <= 200 + 1e-6 and -1e-6 <= y1 < y2 <= 120 + 1e-6
    rows, columns = np.nonzero((canvas.output.get_image() != 90).any(axis=-1))
    assert len(rows) > 20
    assert x1 - 1 <= columns.min() and columns.max() <= x2 + 1
    assert y1 - 1 <= rows.min() and rows.max() <= y2 + 1


def test_a_label_goes_above_its_box_and_avoids_others(frame):
    canvas = OverlayVisualizer(frame)
    box = np.array([60.0, 50.0, 100.0, 110.0])
    first = canvas.draw_label(["walk"], box, _RED)
    assert first[0] == box[0] and first[3] == pytest.approx(box[1])
    second = canvas.draw_label(["walk"], box, _RED, avoid=[first])
    common = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    assert (common <= 0).any()


def test_without_room_above_a_label_goes_inside(frame):
    canvas = OverlayVisualizer(frame)
    label = canvas.draw_label(["walk"], np.array([60.0, 2.0, 100.0, 110.0]), _RED)
    assert label[1] == pytest.approx(2.0)


@pytest.mark.parametrize(
    "height, width, pixels, line",
    [(480, 640, 13, 2), (720, 1280, 16, 2), (1080, 1920, 24, 4), (2160, 3840, 48, 7)],
    ids=["240p, enlarged", "720p", "1080p", "4K"],
)
def test_text_and_lines_grow_with_the_frame(height, width, pixels, line):
    assert text_pixels(height, width) == text_pixels(width, height) == pixels
    assert line_width(height, width) == line
    frame = np.zeros((height, width, 3), np.uint8)
    canvas = OverlayVisualizer(frame)
    label = canvas.draw_label(["H"], np.array([0.3, 0.3, 0.6, 0.6]) * height, (1.0, 1.0, 1.0))
    rows = np.nonzero((canvas.output.get_image() > 128).any(axis=(1, 2)))[0]
    # A capital is about 0.73 of the font; the line has room above and below.
    assert rows[-1] - rows[0] + 1 == pytest.approx(0.73 * pixels, abs=1.5)
    assert label[1] < rows[0] and rows[-1] < label[3]
    canvas.output.reset_image(frame)
    canvas.draw_box(np.array([0.2, 0.2, 0.8, 0.8]) * height, edge_color=(1.0, 1.0, 1.0))
    assert (canvas.output.get_image()[height // 2, : height // 2] > 0).any(axis=1).sum() == line


def test_a_label_away_from_its_box_has_a_line(frame):
    box, taken = np.array([20.0, 90, 40, 110]), np.array([0.0, 60, 200, 120])
    canvas = OverlayVisualizer(frame)
    label = canvas.draw_label(["walk"], box, _RED, avoid=[taken])
    assert label[3] <= 60
    between = canvas.output.get_image()[61:89, 15:60]
    reddish = between[..., 0].astype(int) - between[..., 1] > 40
    assert reddish.any(axis=1).all()
