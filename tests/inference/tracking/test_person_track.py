import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.inference import KeyFrameResult
from tubedet.inference.tracking.person_track import tracks_of


def key_frame(time, persons):
    """A result with the persons {id: first action score}; the box of a person begins at the id."""
    ids = list(persons)
    boxes = torch.tensor([[i, 0.0, i + 5.0, time] for i in ids]).reshape(-1, 4)
    actions = torch.tensor([[score, 0.3] for score in persons.values()]).reshape(-1, 2)
    instances = Instances(
        (50, 200),
        pred_boxes=Boxes(boxes),
        scores=torch.full((len(ids),), 0.75),
        action_scores=actions,
        person_ids=torch.tensor(ids, dtype=torch.int64),
    )
    return KeyFrameResult(int(time), float(time), instances)


def test_tracks_collect_persons_over_time():
    results = [key_frame(1, {7: 0.5, 2: 0.1}), key_frame(2, {}), key_frame(3, {2: 0.75, 9: 0.2})]
    tracks = tracks_of(results)
    assert [(track.person_id, len(track)) for track in tracks] == [(2, 2), (7, 1), (9, 1)]
    track = tracks[0]
    assert repr(track) == "PersonTrack(person_id=2, 2 key frames, 1.000 to 3.000 s)"
    assert (track.start, track.end) == (1.0, 3.0) and track.times.tolist() == [1, 3]
    np.testing.assert_array_equal(track.boxes, [[2, 0, 7, 1], [2, 0, 7, 3]])
    assert track.scores.tolist() == [0.75, 0.75] and track.action_scores.shape == (2, 2)
    assert track.actions() == pytest.approx({"action 1": 0.75, "action 2": 0.3})
    assert list(tracks[1].actions()) == ["action 1", "action 2"]
    assert list(tracks[2].actions()) == ["action 2", "action 1"]
    assert tracks[2].actions(min_score=0.25) == pytest.approx({"action 2": 0.3})
    assert tracks_of([]) == tracks_of([results[1]]) == []
