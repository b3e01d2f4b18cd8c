import pytest

from tubedet.data.importers.key_frame_tracks import (
    KeyFrame,
    place_at,
    upright_box,
    visible_frames,
)


def key_frame(frame, enabled=True, x=0.0, rotation=0.0):
    return KeyFrame(frame, (x, 10.0, 20.0, 30.0), rotation, enabled)


@pytest.mark.parametrize(
    ("track", "last_frame", "frames"),
    [
        # What extract_key_frames of Label Studio's SDK gives, after its tests.
        ([(1, True), (5, False)], 10**6, range(1, 6)),
        ([(1, True), (5, True)], 10, range(1, 11)),
        ([(1, True)], 10, range(1, 11)),
        ([(1, False)], 10, [1]),
        ([(1, True), (5, False), (11, True), (15, False)], 10**6, [*range(1, 6), *range(11, 16)]),
        (
            [(2, True), (10, False), (13, False), (16, True)],
            20,
            [*range(2, 11), 13, *range(16, 21)],
        ),
        # A video of unknown length, and one that is shorter than it says.
        ([(2, True), (4, True)], None, [2, 3, 4]),
        ([(2, True), (4, True)], 3, [2, 3, 4]),
    ],
)
def test_frames_in_which_a_person_is_seen(track, last_frame, frames):
    key_frames = [key_frame(*entry) for entry in track]
    assert list(visible_frames(key_frames, last_frame)) == list(frames)


def test_boxes_move_between_key_frames():
    track = [key_frame(2), key_frame(6, x=8.0, rotation=40.0), key_frame(7, x=0.0)]
    assert place_at(track, 2) == ((0, 10, 20, 30), 0)
    assert place_at(track, 3) == ((2, 10, 20, 30), 10)
    assert place_at(track, 6) == ((8, 10, 20, 30), 40)
    assert place_at(track, 99) == ((0, 10, 20, 30), 0)


@pytest.mark.parametrize(
    ("rotation", "aspect", "box"),
    [
        (0, None, (0.5, 0.4, 0.6, 0.6)),
        (360, None, (0.5, 0.4, 0.6, 0.6)),
        (180, None, (0.4, 0.2, 0.5, 0.4)),
        (90, None, None),
        # 200 x 100 pixels: the box has 20 x 20 of them, its corner is at (100, 40).
        (90, 2.0, (0.4, 0.4, 0.5, 0.6)),
        (-90, 2.0, (0.5, 0.2, 0.6, 0.4)),
        (45, 2.0, (0.5 - 0.1 * 2**-0.5, 0.4, 0.5 + 0.1 * 2**-0.5, 0.4 + 0.2 * 2**0.5)),
    ],
)
def test_boxes_turn_about_their_corner(rotation, aspect, box):
    found = upright_box((50.0, 40.0, 10.0, 20.0), rotation, aspect)
    assert found == (box if box is None else pytest.approx(box, abs=1e-9))
