import numpy as np

from tubedet.data.visible_boxes import clip_tubes, keep_visible_boxes


def test_boxes_are_clipped_and_small_ones_dropped():
    boxes = np.array(
        [[-5, -5, 10.5, 10], [0, 0, 6, 5], [0, 0, 6.1, 5], [95, 0, 200, 3], [30, 30, 20, 20]],
        dtype=np.float64,
    )
    kept, visible = keep_visible_boxes(boxes, height=50, width=100, min_area=30)
    assert visible.tolist() == [True, False, True, False, False]
    np.testing.assert_allclose(kept, [[0, 0, 10.5, 10], [0, 0, 6.1, 5]])


def test_boxes_that_lose_most_of_their_area_are_dropped():
    # 40, 50 and 60 % of 200 square pixels are within the clip, and all of 40.
    boxes = np.array([[-12.0, 0, 8, 10], [-10, 0, 10, 10], [-8, 0, 12, 10], [50, 5, 60, 9]])
    for min_share, expected in ((0.0, [1, 1, 1, 1]), (0.5, [0, 1, 1, 1]), (0.9, [0, 0, 0, 1])):
        kept, visible = keep_visible_boxes(
            boxes, height=20, width=100, min_area=30, min_share=min_share
        )
        assert visible.tolist() == [bool(kept) for kept in expected]
        assert (kept == boxes.clip(min=0)[visible]).all()


def test_clip_tubes_cuts_boxes_and_blanks_the_small_ones():
    tubes = np.array([[[-5.0, 2, 10, 8], [18, 0, 30, 10], [np.nan] * 4, [2, 2, 8, 7.2]]])
    clipped = clip_tubes(tubes, height=10, width=20, min_area=30)
    nan = [np.nan] * 4
    np.testing.assert_allclose(clipped, [[[0, 2, 10, 8], nan, nan, [2, 2, 8, 7.2]]])


def test_boxes_of_tubes_that_lose_most_of_their_area_are_blanked():
    tubes = np.array([[[-12.0, 0, 8, 10], [-8, 0, 12, 10], [np.nan] * 4]])
    clipped = clip_tubes(tubes, height=20, width=20, min_area=30, min_share=0.5)
    np.testing.assert_allclose(clipped, [[[np.nan] * 4, [0, 0, 12, 10], [np.nan] * 4]])
