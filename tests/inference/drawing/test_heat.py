"""Heat over frames."""

import numpy as np
import pytest

from tubedet.inference.drawing import blend_heat, heat_colour


def test_the_colour_grows_with_the_weight():
    frame = np.full((2, 3, 3), 100, np.uint8)
    weights = np.array([[0, 0.1, 0.2], [0.4, 0, 0]])
    heated = blend_heat(frame, [weights], [(1.0, 0.0, 0.0)])
    # Three quarters of the colour at the largest weight, in proportion elsewhere.
    assert heated[1, 0].tolist() == [216, 25, 25]
    assert heated[0].tolist() == [[100] * 3, [129, 81, 81], [158, 62, 62]]
    assert (frame == 100).all()


def test_without_weights_nothing_is_coloured():
    frame = np.full((2, 2, 3), 7, np.uint8)
    heated = blend_heat(frame, [np.zeros((2, 2))], [(1.0, 0.0, 0.0)])
    np.testing.assert_array_equal(heated, frame)


def test_colours_mix_where_two_actions_look():
    frame = np.zeros((1, 3, 3), np.uint8)
    maps = [np.array([[2.0, 0.0, 2.0]]), np.array([[0.0, 1.0, 1.0]])]
    heated = blend_heat(frame, maps, [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
    assert heated[0].tolist() == [[191, 0, 0], [0, 0, 191], [96, 0, 96]]


def test_actions_have_colours_of_their_own():
    colours = np.array([heat_colour(number) for number in range(5)])
    assert colours[0].tolist() == pytest.approx([1, 0.15, 0.15])
    distances = np.abs(colours[:, None] - colours).max(-1) + np.eye(5)
    assert distances.min() > 0.3
