"""What an evaluation leaves behind: a table to read, and a json to parse."""

from __future__ import annotations

import math
from os import PathLike

from tabulate import tabulate

from tubedet.files.atomic_writing import write_json

from .ava_protocol import AVAResult

# Said in each json file, as metrics.json, tables and reports are in percent.
JSON_UNIT = "fraction"


def result_table(result: AVAResult) -> str:
    """Lay a result out as text: one line of totals, then AP in percent and boxes per class.

    Args:
        result: An evaluation.

    Returns:
        str: several lines; classes without ground truth are counted, not listed.
    """
    rows = [
        (name, 100 * result.per_class[name], count)
        for name, count in result.groundtruth_per_class.items()
        if count > 0
    ]
    totals = (
        f"frame-mAP@0.5IOU {100 * result.mean_ap:.2f} % (protocol {result.protocol}), "
        f"mean over the {len(rows)} of {len(result.per_class)} classes that have ground truth;\n"
        f"{result.num_key_frames} key frames, {result.num_groundtruth} ground-truth boxes "
        f"(one per person and action), {result.num_detections} detections"
    )
    table = tabulate(rows, headers=("class", "AP", "boxes"), tablefmt="pipe", floatfmt=".2f")
    return f"{totals}\n{table}"


def result_to_dict(result: AVAResult) -> dict:
    """Turn a result into what the json files hold.

    Args:
        result: An evaluation.

    Returns:
        dict: ``{"protocol": name, "unit": "fraction", "mAP@0.5IOU": mean, "per_class": {class
        name: AP}}`` with figures in [0, 1], as in ActivityNet's script. Every class of the label
        map is listed; the AP of one without ground truth is None (null), and so is the mean if
        there is no ground truth at all.
    """
    return {
        "protocol": result.protocol,
        "unit": JSON_UNIT,
        "mAP@0.5IOU": none_if_nan(result.mean_ap),
        "per_class": {name: none_if_nan(ap) for name, ap in result.per_class.items()},
    }


def write_result_json(result: AVAResult, path: str | PathLike) -> None:
    """Write :func:`result_to_dict` as json; a file of that name is replaced in one step.

    Args:
        result: An evaluation.
        path: Where to write; the folder must exist.

    Raises:
        OSError: The file cannot be written.
    """
    write_json(result_to_dict(result), path)


def none_if_nan(ap: float) -> float | None:
    """Return what json holds of a figure that may not be defined."""
    return None if math.isnan(ap) else ap
