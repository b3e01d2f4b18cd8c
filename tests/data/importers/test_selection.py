import pytest

from tubedet.data import AnnotationError
from tubedet.data.importers.labels import Labels, PersonBox
from tubedet.data.importers.selection import select


def box(video, time, *actions, person=0, corners=(1, 2, 30, 40)):
    return PersonBox(video, time, corners, actions, person)


def test_classes_choose_and_order_and_count_the_others():
    boxes = [box("v", 1, "run"), box("v", 2, "jump", "run"), box("v", 3, "sit"), box("v", 3, "sit")]
    selection = select(Labels(boxes=boxes), classes=["jump", "run", "fly"])
    assert selection.classes == ["jump", "run", "fly"]
    assert [b.actions for b in selection.labels.boxes] == [("run",), ("jump", "run")]
    assert selection.remarks == [
        "not among --classes, left out: sit (2 boxes)",
        "no box has the action 'fly'",
        "persons without an action are left out (2 boxes)",
    ]


def test_ignored_labels_are_no_actions_and_leave_no_empty_frame():
    labels = Labels(
        boxes=[box("v", 1, "run", "occluded"), box("v", 2, "occluded")],
        looked_at={("v", 1), ("v", 2), ("v", 3)},
        class_names=["occluded", "run"],
    )
    selection = select(labels, ignore=["occluded", "hidden"])
    assert selection.classes == ["run"]
    assert [(b.time, b.actions) for b in selection.labels.boxes] == [(1, ("run",))]
    assert selection.empty == {("v", 3)}
    assert selection.remarks == [
        "--ignore hidden: no label has this name",
        "persons without an action are left out (1 boxes)",
    ]


def test_names_are_in_the_order_of_the_file_then_of_the_alphabet():
    boxes = [box("v", 1, "b", "a", "z", "c")]
    assert select(Labels(boxes=boxes)).classes == ["a", "b", "c", "z"]
    assert select(Labels(boxes=boxes, class_names=["z", "b"])).classes == ["z", "b", "a", "c"]


def test_empty_names_are_no_actions():
    selection = select(Labels(boxes=[box("v", 1, "run", ""), box("v", 2, " ")]))
    assert selection.classes == ["run"]
    assert [b.actions for b in selection.labels.boxes] == [("run",)]


def test_every_thins_each_video_for_itself_from_its_first_frame_on():
    boxes = [box("a", t, "run") for t in range(3, 13)] + [box("b", t, "run") for t in (7, 9, 30)]
    labels = Labels(boxes=boxes, looked_at={("a", 1), ("a", 2), ("c", 8), ("c", 9)})
    selection = select(labels, every=4)
    assert [(b.video_id, b.time) for b in selection.labels.boxes] == [("a", 5), ("a", 9), ("b", 7)]
    assert selection.empty == {("a", 1), ("c", 8)}
    assert selection.remarks == ["--every 4: 5 of 17 annotated frames are kept"]


def test_many_actions_without_a_box_are_one_line():
    selection = select(Labels(boxes=[box("v", 1, "run")], class_names=["a", "b", "run", "c", "d"]))
    assert selection.remarks == ["no box has these 4 actions: a, b, c, d"]


def test_an_action_that_every_thins_out_is_named():
    selection = select(Labels(boxes=[box("a", 1, "run"), box("a", 2, "jump")]), every=2)
    assert selection.classes == ["jump", "run"]
    assert selection.remarks[-1] == "no box has the action 'jump'"


@pytest.mark.parametrize(
    ("corners", "inside"),
    [
        ((0, 0, 320, 240), (0, 0, 320, 240)),
        ((-4, 3, 330, 100), (0, 3, 320, 100)),
        ((300.5, 200.25, 320.5, 240.5), (300.5, 200.25, 320, 240)),
    ],
)
def test_boxes_are_cut_at_the_border_of_the_frame(corners, inside):
    labels = Labels(boxes=[box("v", 1, "run", corners=corners)], sizes={"v": (320, 240)})
    selection = select(labels)
    assert [b.box for b in selection.labels.boxes] == [inside]
    assert selection.remarks == (
        [] if inside == corners else ["boxes that reach beyond the frame are cut (1)"]
    )


def test_without_a_size_only_negative_sides_are_cut():
    selection = select(Labels(boxes=[box("v", 1, "run", corners=(-3, 5, 9000, 90))]))
    assert selection.labels.boxes[0].box == (0, 5, 9000, 90)


def test_fractions_are_cut_at_one():
    labels = Labels(boxes=[box("v", 1, "run", corners=(0.5, 0.5, 1.01, 0.9))], in_fractions=True)
    assert select(labels).labels.boxes[0].box == (0.5, 0.5, 1, 0.9)


def test_boxes_outside_of_the_frame_are_counted_in_one_line_and_no_frame_is_empty_for_them():
    outside = [box("v", t, "run", corners=(320, 0, 400, 50)) for t in (4, 5, 6)]
    labels = Labels(
        boxes=[*outside, box("v", 7, "run")],
        sizes={"v": (320, 240)},
        looked_at={("v", t) for t in range(4, 9)},
    )
    selection = select(labels)
    assert [b.time for b in selection.labels.boxes] == [7] and selection.empty == {("v", 8)}
    assert selection.remarks == [
        "boxes outside of the frame are left out (3), the first in video 'v', frame 4: "
        "320, 0, 400, 50"
    ]


def test_remarks_of_the_reader_come_first_with_their_counts():
    labels = Labels(boxes=[box("v", 1, "run")])
    labels.remarks["polygons: their enclosing boxes are taken"] = 7
    assert select(labels).remarks == ["polygons: their enclosing boxes are taken (7)"]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([box("v", 1, "run", corners=(5, 5, 5, 9))], "video 'v', frame 1: 5, 5, 5, 9 is no box"),
        ([box("v", 1, "run", corners=(5, 5, float("nan"), 9))], "5, 5, nan, 9 is no box"),
        ([box("v", 0, "run")], "video 'v': there is no frame 0"),
        ([box("v", 1.5, "run")], "video 'v': there is no frame 1.5"),
        ([box("v", 10**7, "run")], r"video 'v': there is no frame 1e\+07"),
        ([box("v", float("nan"), "run")], "video 'v': there is no frame nan"),
        ([box("v", 1, "run", person=None)], "video 'v', frame 1: a person without a number"),
        ([box("v", 1, "run", person=-1)], "the person has the number -1, expected one from 0"),
        ([box("v", 1, "run", person=2**53)], "the person has the number 9007199254740992"),
        (
            [box("v", 1, "run"), box("v", 1, "run", corners=(1, 2, 30, 41))],
            "person 0 does 'run' in two boxes, 1, 2, 30, 40 and 1, 2, 30, 41",
        ),
    ],
)
def test_what_no_video_has_is_refused(boxes, message):
    with pytest.raises(AnnotationError, match=message):
        select(Labels(boxes=boxes))


def test_seconds_may_be_parts_and_persons_without_numbers():
    labels = Labels(boxes=[box("v", 0.5, "run", person=None)], in_seconds=True)
    assert select(labels).labels.boxes == labels.boxes
