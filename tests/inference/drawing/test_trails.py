import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from tubedet.inference.drawing import ActionVisualizer
from tubedet.inference.drawing.trails import Trails


def test_a_trail_has_the_last_seconds_and_ends_with_the_person():
    trails = Trails(1.0)
    for frame in range(31):
        box = np.array([0.01 * frame, 0.2, 0.01 * frame + 0.1, 0.8])
        ways = trails.add(frame / 10, [(7, box)] + [(3, box)] * (frame < 5))
    assert list(ways) == [7]
    np.testing.assert_allclose(ways[7][[0, -1]], [[0.25, 0.8], [0.35, 0.8]])
    assert len(ways[7]) == 11
    # Somebody who was away for longer begins anew.
    assert len(trails.add(3.1, [(3, box)])[3]) == 1


def test_trails_are_drawn_behind_persons_with_ids():
    frame = np.full((400, 400, 3), 90, np.uint8)
    drawings = []
    for seconds in (0.0, 2.0):
        visualizer = ActionVisualizer(["walk"], trails=seconds)
        for number in range(11):
            box = torch.tensor([[20.0, 100, 60, 300]]) + torch.tensor([20.0, 0, 20, 0]) * number
            persons = Instances(
                (400, 400),
                pred_boxes=Boxes(box),
                scores=torch.ones(1),
                action_scores=torch.ones(1, 1),
                person_ids=torch.tensor([4]),
            )
            drawing = visualizer.draw_detections(frame, persons, time=number / 10)
        drawings.append(drawing)
    without, with_trail = drawings
    rows, columns = np.nonzero((without != with_trail).any(axis=-1))
    # From the feet at first, 40, to the box of now; as wide as the lines at most.
    assert 38 <= columns.min() <= 70 and 215 <= columns.max() <= 242
    assert rows.min() >= 297 and rows.max() <= 303
