"""What the examples of errors are compared with."""

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.ava_protocol import match_ava
from tubedet.evaluation.error_analysis import analyse_errors

TRUTH = """
film,903,0,0,0.5,0.5,1
film,903,0,0,0.5,0.5,2
film,903,0.5,0,1,0.5,3
film,904,0,0,0.5,0.5,3
"""
FOUND = """
film,903,0.05,0,0.5,0.5,3,0.9
film,903,0.3,0,0.7,0.5,3,0.8
film,903,0.6,0.8,0.7,0.9,1,0.7
film,905,0,0,1,1,1,0.6
film,904,0.1,0.1,0.5,0.5,2,0.5
"""


def _analysis():
    tables = [parse_ava_csv(text.split(), source="file") for text in (TRUTH, FOUND)]
    return analyse_errors(match_ava(*tables, {1: "sit", 2: "run", 3: "swim"}))


def test_false_positives_and_the_nearest_persons():
    nearest = {e.score: e.nearest for e in _analysis().false_positives}
    # A person who is overlapped, with all that they do.
    assert nearest[0.9].box == (0, 0, 0.5, 0.5)
    assert nearest[0.9].text == "sit, run (IoU 0.90)"
    # As much of both persons: the one who does the action.
    assert nearest[0.8].box == (0.5, 0, 1, 0.5)
    assert nearest[0.8].text == "swim (IoU 0.29)"
    # Overlaps nobody: by distance.
    assert nearest[0.7].text == "swim (IoU 0.00)"
    assert nearest[0.6] is None


def test_missed_boxes_and_the_nearest_detections():
    missed = {(e.timestamp, e.class_name): e for e in _analysis().missed}
    assert all(e.is_groundtruth for e in missed.values())
    assert missed[904, "swim"].nearest.text == "run 0.500 (IoU 0.64)"
    assert missed[904, "swim"].nearest.box == (0.1, 0.1, 0.5, 0.5)
    assert missed[903, "run"].nearest.text == "swim 0.900 (IoU 0.90)"
    assert missed[903, "swim"].nearest.text == "swim 0.800 (IoU 0.29)"
