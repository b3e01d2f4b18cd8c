"""How many of the annotated persons the given boxes find."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .detection_ap import best_groundtruth


def proposal_recall(records: Iterable[dict], iou_threshold: float = 0.5) -> float | None:
    """Return the share of annotated boxes that a proposal overlaps.

    Args:
        records: dataset dicts with ``annotations`` and proposals, see
            :func:`tubedet.data.person_boxes.proposals.with_proposals`. Key frames whose proposals
            have another unit than the annotations do not count.
        iou_threshold: least IoU, inclusive.

    Returns:
        From 0 to 1; None if no annotation counts.
    """
    annotated, proposed = [np.empty((0, 4))], [np.empty((0, 4))]
    groups, proposed_groups = [], []
    for number, record in enumerate(records):
        mode = record["proposal_bbox_mode"]
        boxes = [a["bbox"] for a in record.get("annotations", ()) if a["bbox_mode"] == mode]
        if boxes:
            annotated.append(np.array(boxes, dtype=np.float64))
            groups += [number] * len(boxes)
        proposed.append(np.asarray(record["proposal_boxes"], dtype=np.float64).reshape(-1, 4))
        proposed_groups += [number] * len(record["proposal_boxes"])
    if not groups:
        return None
    _, ious = best_groundtruth(
        np.concatenate(annotated),
        np.array(groups),
        np.concatenate(proposed),
        np.array(proposed_groups, dtype=np.int64),
    )
    return float((ious >= iou_threshold).mean())
