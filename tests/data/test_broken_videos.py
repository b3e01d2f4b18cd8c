import logging

import pytest

from tubedet.data.broken_videos import BrokenVideoPolicy
from tubedet.data.video.video_file import VideoError

ERROR = VideoError("film.mp4: the file is empty")


def test_without_allowance_the_first_one_stops():
    with pytest.raises(VideoError, match=r"key frame 902 s of video 'abc' .*film\.mp4: the file"):
        BrokenVideoPolicy(0).handle(ERROR, video_id="abc", timestamp=902.0)


def test_distinct_key_frames_count_and_every_skip_is_logged(caplog):
    policy = BrokenVideoPolicy(2)
    with caplog.at_level(logging.WARNING):
        for second in (902, 903, 902, 902):
            policy.handle(ERROR, video_id="abc", timestamp=float(second))
    assert (policy.num_broken, policy.num_skips) == (2, 4)
    assert len(caplog.records) == 4
    last = caplog.records[-1].getMessage()
    assert "key frame 902 s of video 'abc'" in last and "film.mp4" in last
    assert "process: 2 of at most 2; skips: 4" in last
    with pytest.raises(VideoError, match=r"\(3 broken key frames .*MAX_BROKEN_KEYFRAMES is 2\)"):
        policy.handle(ERROR, video_id="abd", timestamp=902.0)


def test_negative_allowance_is_refused():
    with pytest.raises(ValueError, match="MAX_BROKEN_KEYFRAMES"):
        BrokenVideoPolicy(-1)
