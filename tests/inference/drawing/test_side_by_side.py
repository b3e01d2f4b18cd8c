import numpy as np

from tubedet.inference.drawing import side_by_side


def test_pictures_stand_beside_each_other_under_their_titles():
    pictures = [np.full((360, 480, 3), grey, np.uint8) for grey in (90, 200)]
    joined = side_by_side(pictures, ["detections", "ground truth"])
    # Titles of twice the size of the text; twice the width of a line between the pictures.
    assert joined.shape == (360 + 26, 2 * 480 + 4, 3)
    assert (joined[26:, :480] == 90).all() and (joined[26:, 484:] == 200).all()
    titles = joined[:26, :480], joined[:26, 484:]
    assert all(title.max() > 200 for title in titles)
    assert not np.array_equal(*titles)
