import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from tubedet.inference.drawing import ActionVisualizer, short_action_names
from tubedet.inference.drawing.overlay import OverlayVisualizer

_NAMES = ["stand", "walk", "watch (a person)", "hand wave"]


@pytest.fixture
def frame():
    return np.full((96, 128, 3), 90, np.uint8)


@pytest.fixture
def labels(monkeypatch):
    """The label lines and boxes in the order in which they are drawn."""
    drawn = []
    draw_label = OverlayVisualizer.draw_label

    def record(self, lines, box, colour, **kwargs):
        drawn.append((list(lines), np.round(box, 3).tolist(), colour))
        return draw_label(self, lines, box, colour, **kwargs)

    monkeypatch.setattr(OverlayVisualizer, "draw_label", record)
    return drawn


def _instances(scores, boxes, size=(96, 128), **fields):
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.ones(len(boxes)),
        action_scores=torch.tensor(scores, dtype=torch.float32).reshape(-1, len(_NAMES)),
        **fields,
    )


def test_labels_are_sorted_cut_and_thresholded(frame, labels):
    scores = [[0.9, 0.2, 0.95, 0.6], [0.1, 0.4, 0.2, 0.3], [0.0, 1.0, 0.0, 0.0]]
    boxes = [[10, 20, 50, 90], [0, 0, 20, 20], [60, 20, 100, 90]]
    visualizer = ActionVisualizer(_NAMES, max_actions=2)
    drawing = visualizer.draw_detections(frame, _instances(scores, boxes), score_threshold=0.5)
    assert [lines for lines, _, _ in labels] == [["watch 0.95", "stand 0.90"], ["walk 1.00"]]
    assert drawing.shape == (384, 512, 3) and drawing.dtype == np.uint8
    # Boxes were scaled with the frame; the rejected one left no trace.
    assert labels[0][1] == [40, 80, 200, 360]
    assert (drawing[:, 38:42] != 90).any(axis=-1).sum() > 300
    assert (drawing[:40, :70] == 90).all()


def test_boxes_follow_the_size_of_the_frame(frame, labels):
    instances = _instances([[1.0, 0, 0, 0]], [[100, 200, 500, 900]], size=(960, 1280))
    ActionVisualizer(_NAMES, min_short_side=96).draw_detections(frame, instances)
    assert labels[0][1] == [10, 20, 50, 90]


@pytest.mark.parametrize("size, enlarged", [((96, 128), 4), ((240, 320), 2), ((320, 400), 1)])
def test_small_frames_are_enlarged_by_a_whole_number(size, enlarged):
    frame = np.full((*size, 3), 50, np.uint8)
    drawing = ActionVisualizer(_NAMES).draw_annotations(frame, [])
    assert drawing.shape[:2] == (enlarged * size[0], enlarged * size[1])
    assert (drawing == 50).all()


def test_colours_belong_to_persons(frame, labels):
    scores, boxes = [[1.0, 0, 0, 0]] * 2, [[10, 20, 50, 90], [60, 20, 100, 90]]
    visualizer = ActionVisualizer(_NAMES)
    visualizer.draw_detections(frame, _instances(scores, boxes, person_ids=torch.tensor([7, 3])))
    visualizer.draw_detections(frame, _instances(scores, boxes, person_ids=torch.tensor([3, 7])))
    # In the order of the ids, which are written.
    (lines, _, a), (_, _, b), (_, _, c), (_, _, d) = labels
    assert a == c and b == d and a != b and lines == ["#3 stand 1.00"]


def test_no_detections_leave_the_frame_alone(frame):
    visualizer = ActionVisualizer(_NAMES, min_short_side=1)
    assert np.array_equal(visualizer.draw_detections(frame, _instances([], [])), frame)


def test_scores_of_another_data_set_are_refused(frame):
    with pytest.raises(ValueError, match="4 action scores per person, but 2 action names"):
        ActionVisualizer(_NAMES[:2]).draw_detections(frame, _instances([[1.0] * 4], [[1, 1, 9, 9]]))


def test_annotations_in_pixels_and_in_fractions_agree(frame, labels):
    common = {"actions": [0, 3], "person_id": 5}
    pixels = {"bbox": [32, 24, 64, 72], "bbox_mode": BoxMode.XYXY_ABS, **common}
    fractions = {"bbox": [0.25, 0.25, 0.5, 0.75], "bbox_mode": BoxMode.XYXY_REL, **common}
    visualizer = ActionVisualizer(_NAMES)
    first, second = (visualizer.draw_annotations(frame, [a]) for a in (pixels, fractions))
    assert np.array_equal(first, second)
    assert labels[0][0] == ["stand", "hand wave"] and labels[0][1] == [128, 96, 256, 288]


def test_the_frame_of_the_caller_is_not_drawn_on():
    frame = np.full((400, 400, 3), 90, np.uint8)
    annotation = {"bbox": [32, 24, 264, 272], "bbox_mode": BoxMode.XYXY_ABS, "actions": [0]}
    drawing = ActionVisualizer(_NAMES).draw_annotations(frame, [annotation])
    assert (frame == 90).all() and (drawing != 90).any()


def test_remarks_are_dropped_from_names_where_they_stay_different():
    names = ["talk to (e.g., self)", "kick (an object)", "kick (a person)", "stand"]
    assert short_action_names(names) == ["talk to", "kick (an object)", "kick (a person)", "stand"]


def test_heat_is_drawn_where_the_best_person_looks(labels):
    """Two actions: of the first the second person has the best score, of the other the first."""
    frame = np.full((240, 320, 3), 90, np.uint8)
    boxes = [[100, 30, 140, 70], [200, 170, 235, 200], [0, 0, 20, 20]]
    scores = [[0.9, 0.0, 0.1, 0.3], [0.6, 0.0, 0.2, 0.1], [0.1, 0.0, 0.4, 0.4]]
    attention = torch.zeros(3, 2, 3, 4)
    attention[0, 1, 0, 0] = 1.0  # upper left
    attention[1, 0, 2, 3] = 0.5  # lower right
    attention[2, :, 1, 1] = 1.0  # of a person who is not drawn
    instances = _instances(scores, boxes, (240, 320), action_attention=attention)
    instances.person_ids = torch.tensor([4, 7, 9])
    visualizer = ActionVisualizer(_NAMES, min_short_side=96, explained=[2, 3])
    drawing = visualizer.draw_detections(frame, instances, score_threshold=0.5)
    # Three quarters of red for the first action, of a green for the other.
    assert drawing[220, 310].tolist() == [214, 51, 51]
    assert drawing[10, 10].tolist() == [51, 214, 99]
    assert drawing[120, 120].tolist() == [90, 90, 90]
    assert [lines for lines, _, _ in labels[:2]] == [["hand wave: #4 0.30"], ["watch: #7 0.20"]]
    assert len(labels) == 4
    # One line above the other in the lower left corner.
    assert labels[0][1] == [0, 240, 0, 240] and 200 < labels[1][1][1] < 230
    plain = ActionVisualizer(_NAMES, min_short_side=96).draw_detections(frame, instances)
    assert (plain[10, 10] == 90).all() and (plain[220, 310] == 90).all()


def test_without_a_drawn_person_there_is_no_heat(frame):
    instances = _instances([[0.4, 0, 0, 0]], [[10, 20, 50, 90]])
    instances.action_attention = torch.ones(1, 1, 3, 4)
    drawing = ActionVisualizer(_NAMES, min_short_side=96, explained=[0]).draw_detections(
        frame, instances, score_threshold=0.5
    )
    np.testing.assert_array_equal(drawing, frame)
