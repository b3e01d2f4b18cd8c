import numpy as np
import pytest

from tubedet.inference.drawing import blur_persons

_BOX = np.array([[0.25, 0.2, 0.5, 0.8]])  # of 400 x 200: x 100..200, y 40..160


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (200, 400, 3), dtype=np.uint8)


def _changed(frame, blurred):
    rows, columns = np.nonzero((frame != blurred).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_of_a_person_few_cells_are_left(frame):
    before = frame.copy()
    blurred = blur_persons(frame, _BOX, "persons")
    assert np.array_equal(frame, before)
    # The box with 15 % on each side.
    assert _changed(frame, blurred) == (85, 22, 215, 178)
    part = blurred[22:178, 85:215]
    assert len(np.unique(part.reshape(-1, 3), axis=0)) <= 8 * 7
    # Every pixel is a mean of many: noise of 74 levels is gone.
    assert part.std() < 6 and frame[22:178, 85:215].std() > 70
    assert (blurred != frame).any(axis=-1)[22:178, 85:215].mean() > 0.99


@pytest.mark.parametrize(
    "size, box, bottom",
    [
        ((1000, 1000), [0.4, 0.2, 0.5, 0.6], 320),  # stands: 30 % of 400
        ((1000, 1000), [0.2, 0.2, 0.5, 0.6], 350),  # upper body: half of the width
        ((1000, 1000), [0.0, 0.2, 1.0, 0.6], 440),  # lies: at most 60 %
    ],
)
def test_faces_are_looked_for_in_the_upper_part(size, box, bottom):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    blurred = blur_persons(frame, np.array([box]), "faces")
    x1, y1, x2, y2 = _changed(frame, blurred)
    assert (y1, y2) == (140, bottom)
    margin = 150 * (box[2] - box[0])
    assert x1 == round(max(1000 * box[0] - margin, 0))
    assert x2 == round(min(1000 * box[2] + margin, 1000))
    assert len(np.unique(blurred[y1:y2, x1:x2].reshape(-1, 3), axis=0)) <= 16


def test_boxes_at_the_border_and_outside(frame):
    assert np.array_equal(blur_persons(frame, np.zeros((0, 4)), "persons"), frame)
    outside = np.array([[1.5, 0.2, 1.9, 0.8]])
    assert np.array_equal(blur_persons(frame, outside, "persons"), frame)
    tiny = np.array([[0.99, 0.99, 1.2, 1.2], [0.5, 0.5, 0.501, 0.501]])
    assert (blur_persons(frame, tiny, "persons") != frame)[-1, -1].any()
