import numpy as np
import pytest
from numbered_videos import read_numbers, write_video
from recording_detector import CountingSource

from tubedet.data.video.sources import open_frame_source
from tubedet.inference.waiting_frames import WaitingFrames

FRAME_BYTES = 48 * 64 * 3 // 2


@pytest.mark.parametrize("max_frames", [0, 3, 1000])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"b_frames": 2}),
        ("vfr.mkv", {"times": np.cumsum(np.tile([0.02, 0.033, 0.4], 30)).round(3)}),
        ("offset.ts", {"b_frames": 2, "rate": 25}),
    ],
)
def test_frames_beyond_the_limit_are_read_again(tmp_path, name, options, max_frames):
    path = write_video(tmp_path / name, 90, **options)
    taken, most = [], 0
    with open_frame_source(path) as source:
        frames = source.stored_frames()
        size = 4 * FRAME_BYTES  # planes are padded
        with WaitingFrames(source, max_bytes=max_frames * size) as waiting:
            # Of every group of 20, the first 10 are taken while the others still come.
            for count, (time, stored) in enumerate(frames, start=1):
                waiting.append(time, stored)
                most = max(most, waiting.num_bytes)
                if count % 20 == 0:
                    assert waiting.first_time < time
                    taken += [waiting.popleft() for _ in range(10)]
            taken += [waiting.popleft() for _ in range(len(waiting))]
            assert waiting.num_bytes == 0
    assert read_numbers(np.stack([image for _, image in taken])) == list(range(90))
    with open_frame_source(path) as source:
        assert [time for time, _ in taken] == [time for time, _ in source]
    assert most <= max_frames * size and (most > 0) == (max_frames > 0)


def test_frames_that_come_once_are_kept():
    source = CountingSource(5)
    with WaitingFrames(source, max_bytes=0) as waiting:
        for time, stored in source.stored_frames():
            waiting.append(time, stored)
        del stored
        assert source.alive == 5 and waiting.num_bytes == 5 << 20
        assert [waiting.popleft()[0] for _ in range(5)] == [0, 0.1, 0.2, 0.3, 0.4]
    with pytest.raises(NotImplementedError, match="CountingSource can be read once"):
        source.reopened()
