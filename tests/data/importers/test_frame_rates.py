import pytest

from tubedet.data.importers.frame_rates import StoredVideo, to_stored_frames
from tubedet.data.importers.labels import Labels, PersonBox


def labels(frames, counted):
    boxes = [PersonBox("a", n, (0, 0, 0.5, 0.5 + n / 1000), ("run",), 0) for n in frames]
    return Labels(boxes=boxes, in_fractions=True, frame_rates={"a": counted}, looked_at={("b", 2)})


@pytest.mark.parametrize(
    ("counted", "stored", "frames", "found"),
    [
        (25, 25, [1, 2, 500], [1, 2, 500]),
        (25.06, 25, [1, 2, 500], [1, 2, 500]),  # a length that was rounded up
        (24, 30, [1, 2, 3, 4, 5, 24], [1, 2, 4, 5, 6, 30]),
        (30, 24, [1, 2, 3, 4, 5, 6, 30], [1, 2, 3, 4, 5, 24]),
        # 10 minutes: 18 frames at the end.
        (30, 30000 / 1001, [1, 500, 501, 18000], [1, 500, 501, 17982]),
    ],
)
def test_frames_of_the_same_times(counted, stored, frames, found):
    moved = to_stored_frames(labels(frames, counted), {"a": StoredVideo(stored)})
    assert [box.time for box in moved.boxes] == found
    assert moved.looked_at == {("b", 2)}
    assert len(moved.remarks) == (found != frames)


def test_the_first_of_two_boxes_of_a_stored_frame_stays():
    moved = to_stored_frames(labels([5, 6, 30], 30), {"a": StoredVideo(24)})
    assert [(box.time, box.box[3]) for box in moved.boxes] == [(4, 0.505), (5, 0.506), (24, 0.53)]
    moved = to_stored_frames(labels([2, 3, 30], 30), {"a": StoredVideo(10)})
    assert [(box.time, box.box[3]) for box in moved.boxes] == [(1, 0.502), (10, 0.53)]


def test_frames_behind_the_end_are_counted():
    moved = to_stored_frames(labels([1, 9, 10, 11], 25), {"a": StoredVideo(25, 9)})
    assert [box.time for box in moved.boxes] == [1, 9]
    assert moved.remarks["frames behind the end of the video: left out"] == 2
