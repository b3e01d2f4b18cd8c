"""The figures of an evaluation of action tubes as a table and as json."""

from __future__ import annotations

from os import PathLike

from tabulate import tabulate

from tubedet.files.atomic_writing import write_json

from .action_tube_protocol import FRAME_IOU, ActionTubeResult
from .ava_report import JSON_UNIT, none_if_nan


def tube_result_table(result: ActionTubeResult) -> str:
    """Lay a result out as text: the means, then APs in percent and counts per class.

    Args:
        result: An evaluation.

    Returns:
        str: several lines; classes without ground truth are counted, not listed.
    """
    means = {f"frame-mAP@{FRAME_IOU}": result.frame_map}
    means |= {f"video-mAP@{ious}": ap for ious, ap in result.video_map.items()}
    lines = [f"{name} {100 * ap:.2f} % (protocol {result.protocol})" for name, ap in means.items()]
    rows = [
        (
            name,
            100 * result.frame_ap[name],
            *(100 * aps[name] for aps in result.video_ap.values()),
            result.boxes_per_class[name],
            result.tubes_per_class[name],
        )
        for name in result.frame_ap
        if result.boxes_per_class[name] > 0
    ]
    lines.append(
        f"means over the {len(rows)} of {len(result.frame_ap)} classes that have ground truth;\n"
        f"{result.num_frames} frames, {sum(result.boxes_per_class.values())} ground-truth boxes "
        f"in {sum(result.tubes_per_class.values())} tubes, {result.num_detections} detections "
        f"linked to {result.num_tubes} tubes"
    )
    headers = ("class", "frame-AP", *(f"video-AP@{i}" for i in result.video_ap), "boxes", "tubes")
    lines.append(tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=".2f"))
    return "\n".join(lines)


def tube_result_to_dict(result: ActionTubeResult) -> dict:
    """Turn a result into what the json files hold.

    Args:
        result: An evaluation.

    Returns:
        dict: ``{"protocol": name, "unit": "fraction", "mAP@0.5IOU": mean, "per_class": {class
        name: AP}}`` of the frames as for AVA, and ``{"video": {"0.2": {"mAP": mean, "per_class":
        {...}}, "0.5": ..., "0.75": ..., "0.5:0.95": ...}}`` of the tubes, keyed by the least tube
        IoU. Figures are in [0, 1]; the AP of a class without ground truth is None (null).
    """
    return {
        "protocol": result.protocol,
        "unit": JSON_UNIT,
        f"mAP@{FRAME_IOU}IOU": none_if_nan(result.frame_map),
        "per_class": {name: none_if_nan(ap) for name, ap in result.frame_ap.items()},
        "video": {
            ious: {
                "mAP": none_if_nan(result.video_map[ious]),
                "per_class": {name: none_if_nan(ap) for name, ap in aps.items()},
            }
            for ious, aps in result.video_ap.items()
        },
    }


def write_tube_result_json(result: ActionTubeResult, path: str | PathLike) -> None:
    """Write :func:`tube_result_to_dict` as json; a file of that name is replaced in one step.

    Args:
        result: An evaluation.
        path: Where to write; the folder must exist.

    Raises:
        OSError: The file cannot be written.
    """
    write_json(tube_result_to_dict(result), path)
