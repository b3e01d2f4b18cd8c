from unittest.mock import Mock

from tubedet.web.kept_detections import KeptDetections


def test_they_are_forgotten_by_age_and_number():
    now = [0.0]
    kept = KeptDetections(Mock(), keep_seconds=10, max_videos=2, clock=lambda: now[0])
    for key in "abc":
        detector = kept.detector_of(key)
        detector._detector.frames = lambda source: iter(())
        assert list(detector.frames(None)) == [] and kept.holds(key)
        now[0] += 4
    assert [kept.holds(key) for key in "abc"] == [False, True, True]
    now[0] = 14.5
    assert [kept.holds(key) for key in "bc"] == [False, True]
