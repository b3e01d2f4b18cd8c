import numpy as np
import pytest

from tubedet.inference.drawing.action_visualizer import identity_colour
from tubedet.inference.drawing.heat import heat_colour
from tubedet.inference.drawing.overlay import OverlayVisualizer
from tubedet.inference.drawing.text_contrast import contrast, readable


def test_contrast_is_that_of_wcag():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast((1, 1, 1), (0x77 / 255,) * 3) == pytest.approx(4.478, abs=1e-3)
    assert contrast((1, 0, 0), (1, 1, 1)) == pytest.approx(3.998, abs=1e-3)


def test_text_of_every_person_is_readable_on_white_and_on_black():
    """The strokes of a full block of text, as drawn."""
    for colour in [*map(identity_colour, range(40)), *map(heat_colour, range(8))]:
        assert contrast(readable(colour), (0.25,) * 3) >= 4.5
    for grey in (0, 128, 255):
        frame = np.full((60, 200, 3), grey, np.uint8)
        for identity in range(6):
            canvas = OverlayVisualizer(frame)
            label = canvas.draw_label(
                ["\u2588\u2588\u2588"], np.array([20.0, 40, 90, 55]), identity_colour(identity)
            )
            part = canvas.output.get_image()[int(label[1]) : int(label[3]), 20:80]
            middle, ground = part[len(part) // 2, 20] / 255, part[0, 0] / 255
            assert contrast(tuple(middle), tuple(ground)) >= 4.45
            assert np.ptp(part[0, 0]) == 0


def test_a_colour_that_is_bright_enough_stays():
    assert readable((1.0, 1.0, 0.4)) == (1.0, 1.0, 0.4)
    red, green, blue = readable((0.4, 0.4, 1.0))
    assert blue == 1.0 and red == green and 0.5 < red < 0.8
