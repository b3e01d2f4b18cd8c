"""The persons that one detector finds, as the boxes of another."""

from fractions import Fraction

import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.data.video.sources import FrameSource
from tubedet.errors import UserError
from tubedet.inference import KeyFrameResult
from tubedet.inference.person_boxes import DetectedPersons


class Film(FrameSource):
    """A source that can be opened again."""

    name, rate, height, width, is_repeatable = "film", Fraction(10), 100, 200, True
    num_closed = 0

    def stored_frames(self, start=0.0):
        raise NotImplementedError

    def reopened(self):
        return self

    def close(self):
        self.num_closed += 1


class Detector:
    """Finds one person per key frame, whose score is the time."""

    def __call__(self, source, *, every, start, end):
        self.asked = source, every, start, end
        for index in range(4):
            instances = Instances((100, 200))
            instances.pred_boxes = Boxes([[20.0, 10, 100, 50], [float("nan"), 0, 0, 0]])
            instances.scores = torch.tensor([index / 8, 1.0])
            yield KeyFrameResult(index, index * every, instances)


def test_persons_of_the_same_key_frames_are_handed_on():
    film, detector = Film(), Detector()
    with DetectedPersons(detector).opened(film, every=0.5, start=0.0, end=None) as find:
        assert detector.__dict__ == {}  # it begins when it is asked
        assert find(0.0, None).scores.tolist() == [0.0]
        persons = find(1.0, None)
        assert persons.scores.tolist() == [0.25] and persons.track_ids is None
        assert persons.boxes.tolist() == [[0.1, 0.1, 0.5, 0.5]]
        assert find(1.0, None).scores.tolist() == [0.25]
        assert len(find(9.0, None).boxes) == 0
    assert detector.asked == (film, 0.5, 0.0, None)
    assert film.num_closed == 1


def test_fault_a_camera_cannot_be_read_twice():
    film = Film()
    film.is_repeatable = False
    source = DetectedPersons(Detector())
    with pytest.raises(UserError, match="film: a person detector of tubedet reads the video a sec"):
        with source.opened(film, every=0.5, start=0.0, end=None):
            pass
