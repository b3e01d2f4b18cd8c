import math

import pytest

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.importers.json_file import Entry
from tubedet.data.importers.via3_shapes import enclosing_box


@pytest.mark.parametrize(
    ("shape", "kind", "box"),
    [
        ([1, 5, 6], "point", (5, 6, 5, 6)),
        ([2, 10, 20, 30, 40], "rectangle", (10, 20, 40, 60)),
        ([2, 40, 60, -30, -40], "rectangle", (10, 20, 40, 60)),
        ([3, 50, 60, 10], "circle", (40, 50, 60, 70)),
        ([4, 50, 60, 10, 20], "ellipse", (40, 40, 60, 80)),
        ([5, 9, 8, 1, 2], "line", (1, 2, 9, 8)),
        ([6, 9, 8, 1, 2, 5, 20], "polyline", (1, 2, 9, 20)),
        ([7, 9, 8, 1, 2, 5, 20], "polygon", (1, 2, 9, 20)),
        ([8, 5, 0, 9, 4, 6, 7, 1, 3], "rectangle of its extreme points", (1, 0, 9, 7)),
        # The circle about (3, 4) with the radius 5.
        ([9, 8, 4, 3, 9, 0, 0], "circle of three points", (-2, -1, 8, 9)),
        ([9, 0, 0, 1, 1, 2, 2], "circle of three points", (0, 0, 0, 0)),
    ],
)
def test_enclosing_boxes(shape, kind, box):
    found, corners = enclosing_box(Entry(shape, "file"))
    assert found == kind and corners == pytest.approx(box)


@pytest.mark.parametrize(
    "shape",
    [[], [0, 1, 2], [1, 2], [2, 1, 2, 3], [7, 1, 2, 3], [7], [2.5, 1, 2], [2, 1, 2, 3, math.nan]],
)
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(AnnotationError, match="file: the file is .*expected"):
        enclosing_box(Entry(shape, "file"))
