import pytest

from tubedet.data import AnnotationError
from tubedet.data.importers.labels import Labels, PersonBox
from tubedet.data.importers.merging import merge

TAKEN = "boxes that two files have: taken once"


def track(person, frames, box, *actions, step=(0, 0), video="v"):
    """Boxes of a person who moves by a step from frame to frame, from the place at frame 0."""
    x1, y1, x2, y2 = box
    return [
        PersonBox(
            video,
            frame,
            (
                x1 + step[0] * frame,
                y1 + step[1] * frame,
                x2 + step[0] * frame,
                y2 + step[1] * frame,
            ),
            actions or ("run",),
            person,
        )
        for frame in frames
    ]


def frames_of(labels, video="v"):
    """Frames by person."""
    found = {}
    for box in sorted(labels.boxes, key=lambda b: b.time):
        if box.video_id == video:
            found.setdefault(box.person_id, []).append(box.time)
    return found


def test_one_file_stays_as_it_is():
    labels = Labels(boxes=track(5, [1, 1], (0, 0, 9, 9)))
    assert merge([labels]) is labels


def test_jobs_that_overlap_do_not_double_a_person_whose_boxes_differ_by_a_pixel():
    first = Labels(boxes=track(0, range(1, 11), (10, 10, 60, 110)))
    second = Labels(boxes=track(0, range(6, 16), (11, 9, 61, 111)))
    merged = merge([first, second])
    assert frames_of(merged) == {0: list(range(1, 16))}
    # Where both have a box, that of the earlier file counts.
    boxes = {box.time: box.box for box in merged.boxes}
    assert boxes[10] == (10, 10, 60, 110) and boxes[11] == (11, 9, 61, 111)
    assert merged.remarks == {TAKEN: 5}


def test_persons_who_are_elsewhere_get_numbers_of_their_own():
    first = Labels(boxes=track(3, range(1, 11), (10, 10, 60, 110)))
    second = Labels(
        boxes=track(3, range(6, 16), (200, 10, 250, 110)) + track(70, [15], (400, 0, 450, 99))
    )
    merged = merge([first, second])
    assert frames_of(merged) == {3: list(range(1, 11)), 7: list(range(6, 16)), 74: [15]}
    assert merged.remarks == {}


def test_files_without_a_common_frame_share_no_person():
    first = Labels(boxes=track(0, range(1, 6), (10, 10, 60, 110)))
    second = Labels(boxes=track(0, range(6, 11), (10, 10, 60, 110)))
    assert frames_of(merge([first, second])) == {0: [1, 2, 3, 4, 5], 1: [6, 7, 8, 9, 10]}


def test_two_annotators_with_other_actions_make_one_person_with_all():
    first = Labels(boxes=track(0, [1, 2, 3], (10, 10, 60, 110), "run"), class_names=["run"])
    second = Labels(
        boxes=track(9, [2, 3, 4], (10, 11, 60, 110), "wave", "run"), class_names=["wave", "run"]
    )
    merged = merge([first, second])
    assert merged.class_names == ["run", "wave"]
    assert {box.time: box.actions for box in merged.boxes} == {
        1: ("run",),
        2: ("run", "wave"),
        3: ("run", "wave"),
        4: ("wave", "run"),
    }
    assert {box.person_id for box in merged.boxes} == {0}


def test_three_files_of_a_person_and_a_person_of_the_last_two():
    a, b = (10, 10, 60, 110), (300, 10, 350, 110)
    parts = [
        Labels(boxes=track(0, range(1, 11), a)),
        Labels(boxes=track(0, range(8, 21), b) + track(1, range(8, 21), a)),
        Labels(boxes=track(0, range(18, 31), a) + track(1, range(18, 31), b)),
    ]
    merged = merge(parts)
    assert frames_of(merged) == {0: list(range(1, 31)), 1: list(range(8, 31))}
    assert merged.remarks == {TAKEN: 3 + 3 + 3}


def test_persons_who_cross_keep_their_numbers():
    # In frame 10 their boxes are the same.
    right = {"box": (0, 10, 50, 110), "step": (10, 0)}
    left = {"box": (200, 10, 250, 110), "step": (-10, 0)}
    first = Labels(boxes=track(0, range(1, 13), **right) + track(1, range(1, 13), **left))
    second = Labels(boxes=track(0, range(8, 21), **left) + track(1, range(8, 21), **right))
    merged = merge([first, second])
    assert frames_of(merged) == {0: list(range(1, 21)), 1: list(range(1, 21))}
    ends = {box.person_id: box.box[0] for box in merged.boxes if box.time == 20}
    assert ends == {0: 200, 1: 0}


def test_a_short_likeness_does_not_outdo_a_long_one():
    # Person 1 of the first file is there for one frame, closer to the second file's person.
    first = Labels(
        boxes=track(0, range(1, 11), (10, 10, 60, 110)) + track(1, [6], (13, 10, 63, 110))
    )
    second = Labels(boxes=track(0, range(6, 16), (13, 10, 63, 110)))
    merged = merge([first, second])
    assert frames_of(merged) == {0: list(range(1, 16)), 1: [6]}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_person_with_two_tracks_in_one_of_the_files_is_one(reverse):
    whole = Labels(boxes=track(0, range(1, 11), (10, 10, 60, 110)))
    broken = Labels(
        boxes=track(4, range(1, 5), (11, 10, 61, 110)) + track(5, range(6, 13), (11, 10, 61, 110))
    )
    merged = merge([broken, whole] if reverse else [whole, broken])
    frames = sorted(box.time for box in merged.boxes)
    assert frames == list(range(1, 13))  # nobody twice
    if not reverse:
        assert frames_of(merged) == {0: list(range(1, 13))}


def test_a_file_with_one_annotation_for_each_action_is_no_overlap():
    both = track(0, [1, 2], (0, 0, 9, 9), "run") + track(0, [1, 2], (0, 0, 9, 9), "wave")
    other = Labels(boxes=track(0, [2, 3], (0, 0, 9, 9), "wave", "jump"))
    merged = merge([Labels(boxes=both), other])
    assert [(b.time, b.actions) for b in sorted(merged.boxes, key=lambda b: b.time)] == [
        (1, ("run",)),
        (1, ("wave",)),
        (2, ("run", "jump")),
        (2, ("wave",)),
        (3, ("wave", "jump")),
    ]
    assert merged.remarks == {TAKEN: 1}


def test_a_person_in_two_boxes_of_one_file_is_not_hidden():
    twice = Labels(boxes=track(0, [1], (0, 0, 9, 9)) + track(0, [1], (50, 0, 59, 9)))
    merged = merge([Labels(boxes=track(0, [7], (0, 0, 9, 9))), twice])
    assert [(b.box[0], b.person_id) for b in merged.boxes if b.time == 1] == [(0, 1), (50, 1)]


def test_videos_are_told_apart_and_moments_are_united():
    first = Labels(
        boxes=track(0, [1], (0, 0, 9, 9)),
        looked_at={("v", 1), ("v", 2), ("v", 3)},
        sizes={"v": (320, 240)},
    )
    second = Labels(
        boxes=track(0, [1], (0, 0, 9, 9), video="w") + track(0, [2], (0, 0, 9, 9)),
        looked_at={("v", 2), ("v", 3), ("v", 4), ("w", 5)},
        unclear={("v", 3)},
        sizes={"v": (320, 240), "w": (64, 48)},
    )
    merged = merge([first, second])
    assert frames_of(merged) == {0: [1], 1: [2]} and frames_of(merged, "w") == {0: [1]}
    assert merged.empty == {("v", 4), ("w", 5)}
    assert merged.sizes == {"v": (320, 240), "w": (64, 48)}


def test_persons_without_numbers_are_matched_in_their_moments():
    first = Labels(
        boxes=track(None, [1, 2], (0, 0, 0.5, 0.5), "sit")
        + track(None, [1], (0, 0, 0.5, 0.5), "talk"),
        in_seconds=True,
        in_fractions=True,
    )
    second = Labels(
        boxes=track(None, [1], (0.01, 0, 0.5, 0.5), "talk", "listen")
        + track(None, [1], (0.6, 0, 0.9, 0.5), "sit"),
        in_seconds=True,
        in_fractions=True,
    )
    merged = merge([first, second])
    assert [(b.time, b.box, b.actions) for b in merged.boxes] == [
        (1, (0, 0, 0.5, 0.5), ("sit", "talk", "listen")),
        (1, (0.6, 0, 0.9, 0.5), ("sit",)),
        (2, (0, 0, 0.5, 0.5), ("sit",)),
    ]
    assert merged.remarks == {TAKEN: 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_seconds": True}, "seconds or frames, pixels or fractions: import them one by one"),
        ({"in_fractions": True}, "seconds or frames, pixels or fractions: import them one by one"),
        (
            {"sizes": {"v": (640, 480)}},
            r"video 'v': the files differ in its size, \(320, 240\) and",
        ),
        ({"start_seconds": {"v": 5.0}}, "differ in the second at which it begins, 2.0 and 5.0"),
    ],
)
def test_files_that_contradict_each_other_are_refused(changes, message):
    first = Labels(sizes={"v": (320, 240)}, start_seconds={"v": 2.0})
    with pytest.raises(AnnotationError, match=message):
        merge([first, Labels(**changes)])


def test_persons_side_by_side_are_not_taken_for_one():
    # They share 40 % of their boxes for long.
    first = Labels(boxes=track(0, range(1, 21), (0, 0, 70, 100)))
    second = Labels(boxes=track(0, range(1, 21), (30, 0, 100, 100)))
    merged = merge([first, second])
    assert frames_of(merged) == {0: list(range(1, 21)), 1: list(range(1, 21))}


def test_both_parts_of_a_broken_track_go_on_under_one_number():
    whole = Labels(boxes=track(0, range(3, 9), (10, 10, 60, 110)))
    broken = Labels(
        boxes=track(4, range(1, 5), (11, 10, 61, 110)) + track(5, range(6, 13), (11, 10, 61, 110))
    )
    assert frames_of(merge([whole, broken])) == {0: list(range(1, 13))}
