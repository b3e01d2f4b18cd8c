"""Which video each ranked detection belongs to: what a bootstrap over videos starts from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tubedet.data.annotations.ava_csv import AVATable

from .action_tube_protocol import TUBE_IOUS, VIDEO_IOUS
from .bootstrap import ClassRanking
from .frame_matches import FrameMatches
from .video_ap import TubeMatches


def videos_with_content(matches: FrameMatches) -> list[str]:
    """Return the videos that have ground truth or a detection that counts, in alphabetical order.

    Args:
        matches: Of one file of predictions.
    """
    return sorted(
        {
            table.videos[code]
            for table, rows in (
                (matches.groundtruth, matches.gt_rows),
                (matches.predictions, matches.rows),
            )
            for code in np.unique(table.video_index[rows]).tolist()
        }
    )


def frame_rankings(matches: FrameMatches, videos: Mapping[str, int]) -> list[ClassRanking]:
    """Rank the detections of key frames.

    Args:
        matches: Of one file of predictions.
        videos: Video id to its number, of all videos with content.

    Returns:
        list[ClassRanking]: of the classes that have ground truth.
    """
    gt_numbers = _numbers(matches.groundtruth, videos)[matches.gt_rows]
    numbers = _numbers(matches.predictions, videos)[matches.rows]
    return [
        ClassRanking(
            videos=numbers[ranked],
            true_positive=matches.true_positive[ranked],
            gt_videos=gt_numbers[matches.gt_classes == index],
        )
        for index, ranked in matches.ranked().items()
    ]


def tube_rankings(
    matches: Mapping[int, TubeMatches], videos: Mapping[str, int]
) -> dict[str, list[list[ClassRanking]]]:
    """Rank the tubes.

    Args:
        matches: Of :func:`~tubedet.evaluation.action_tube_protocol.linked_tube_matches`.
        videos: Video id to its number, of all videos with content.

    Returns:
        dict: key of ``VIDEO_IOUS`` to the classes that have ground truth at each of its tube IoUs.
    """
    at_iou = [
        [
            ClassRanking(
                videos=np.array([videos[video] for video in tubes.videos], dtype=np.int64),
                true_positive=tubes.true_positive[row],
                gt_videos=np.array([videos[video] for video in tubes.gt_videos], dtype=np.int64),
            )
            for tubes in matches.values()
        ]
        for row in range(len(TUBE_IOUS))
    ]
    return {
        name: [at_iou[TUBE_IOUS.index(iou)] for iou in ious] for name, ious in VIDEO_IOUS.items()
    }


def _numbers(table: AVATable, videos: Mapping[str, int]) -> np.ndarray:
    """(N,) int number of the video of each row; -1 for videos without content."""
    numbers = np.array([videos.get(video, -1) for video in table.videos], dtype=np.int64)
    return numbers[table.video_index]
