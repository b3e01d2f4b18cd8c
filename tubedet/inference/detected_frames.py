"""All frames of a video, each with the results between which it lies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from tubedet.data.video.sources import FrameSource

from .key_frame_clips import KeyFrameClips
from .key_frame_results import DetectedFrame, KeyFrameResult
from .read_frames import ReadFrame
from .waiting_frames import WaitingFrames


def frames_between_results(
    steps: Iterable[tuple[ReadFrame | None, list[KeyFrameResult]]],
    source: FrameSource,
    clips: KeyFrameClips,
) -> Iterator[DetectedFrame]:
    """Yield the frames of the part of a video, in order, each when its results are known.

    Args:
        steps: each frame as it is read, with what it is stored as, and the results that it made
            possible; there is one result at least.
        source: the video.
        clips: of this pass.
    """
    indices = itertools.count()
    before: KeyFrameResult | None = None

    def detected(neighbour: KeyFrameResult | None) -> DetectedFrame:
        time, image = waiting.popleft()
        first, second = (neighbour, None) if before is None else (before, neighbour)
        assert first is not None  # without any result the steps have raised
        return DetectedFrame(next(indices), time, image, first, second)

    with WaitingFrames(source) as waiting:
        for frame, results in steps:
            if frame is not None and clips.contains(frame.time):
                waiting.append(frame.time, frame.stored)
            for result in results:
                while waiting and waiting.first_time < result.time - clips.tolerance:
                    yield detected(result)
                before = result
        while waiting:
            yield detected(None)
