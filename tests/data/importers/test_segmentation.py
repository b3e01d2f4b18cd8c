import numpy as np
import pycocotools.mask
import pytest

from tubedet.data import AnnotationError
from tubedet.data.importers.json_file import Entry
from tubedet.data.importers.segmentation import segmentation_box


def box_of(value):
    return segmentation_box(Entry(value, "boxes.json", "annotations[0].segmentation"))


def test_polygons_give_the_box_around_all_of_them():
    assert box_of([[10, 20, 30.5, 20, 30.5, 60], [5, 25, 8, 25, 8, 70]]) == (5, 20, 30.5, 70)
    assert box_of([]) is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "filled",
    [
        [(slice(3, 7), slice(2, 9))],
        [(slice(0, 12), slice(4, 5))],
        [(slice(0, 12), slice(0, 16))],
        [(slice(11, 12), slice(15, 16))],
        [(slice(2, 3), slice(1, 2)), (slice(8, 10), slice(12, 14))],
        [],
    ],
)
def test_masks_give_the_box_that_pycocotools_gives(filled, packed):
    mask = np.zeros((12, 16), dtype=np.uint8)
    for place in filled:
        mask[place] = 1
    encoded = pycocotools.mask.encode(np.asfortranarray(mask))
    x, y, width, height = pycocotools.mask.toBbox(encoded)
    if packed:
        counts = encoded["counts"].decode()
    else:
        flat = mask.T.ravel()
        starts = [0, *np.flatnonzero(np.diff(flat)) + 1, flat.size]
        counts = [0] * int(flat[0]) + np.diff(starts).tolist()
    expected = (x, y, x + width, y + height) if filled else None
    assert box_of({"size": [12, 16], "counts": counts}) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "segmentation is no list"),
        ([[1, 2, 3]], r"segmentation\[0\] is no polygon"),
        ([5], r"segmentation\[0\] is no polygon"),
        ([[1, "a"]], r"segmentation\[0\] is \[1, 'a'\], expected 2 numbers"),
        ({"counts": [1]}, "segmentation has no size"),
        ({"size": [2, 2]}, "segmentation has no counts"),
        ({"size": [0, 2], "counts": [1]}, "has no size of a mask"),
        ({"size": [2, 2], "counts": [3, 2]}, "have lengths that a mask of 2x2 pixels has not"),
        ({"size": [2, 2], "counts": [1, -1]}, "have lengths that a mask of 2x2 pixels has not"),
        ({"size": [2, 2], "counts": "\x7f"}, "is no text of COCO"),
        ({"size": [2, 2], "counts": "o" * 40}, "is no text of COCO"),
        ({"size": [2, 2], "counts": 4}, "counts is no list"),
    ],
)
def test_errors_name_the_place(value, message):
    with pytest.raises(AnnotationError, match=rf"^boxes\.json: annotations\[0\].*{message}"):
        box_of(value)
