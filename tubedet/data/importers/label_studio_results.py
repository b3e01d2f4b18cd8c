"""What stands in an annotation of Label Studio, by region."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from .json_file import Entry

RECTANGLE = "videorectangle"


class Result(NamedTuple):
    """One entry of an annotation: what a control of the editor made.

    Attributes:
        control: its name.
        kind: its type, which is the key of its answers.
        value: what it says.
        entry: where it stands.
    """

    control: str
    kind: str
    value: Entry
    entry: Entry


def choose_annotation(annotations: list[Entry], remarks: Counter[str]) -> Entry | None:
    """Return the annotation that counts: the ground truth, else the first that was not cancelled.

    Args:
        annotations: of a task.
        remarks: takes what the user should know.

    Returns:
        The annotation; None, if there is none.

    Raises:
        AnnotationError: if one is no object.
    """
    done = []
    for annotation in annotations:
        flags = annotation.members()
        if any(flag in annotation and flags[flag].value for flag in ("was_cancelled", "skipped")):
            remarks["annotations that were cancelled: left out"] += 1
        else:
            done.append(annotation)
    if not done:
        remarks["tasks without an annotation: left out"] += 1
        return None
    truths = [annotation for annotation in done if annotation.value.get("ground_truth")]
    if len(done) > 1:
        kind = "the ground truth" if truths else "the first one"
        remarks[f"tasks with several annotations: {kind} is taken"] += 1
    return (truths or done)[0]


def regions_of(annotation: Entry) -> list[list[Result]]:
    """Return the results of each region; those without an id are alone.

    Args:
        annotation: of a task.

    Raises:
        AnnotationError: if a result breaks the format.
    """
    regions: dict[str, list[Result]] = defaultdict(list)
    for number, entry in enumerate(annotation.items("result")):
        if not isinstance(entry.value, dict):
            raise entry.error("is no object")
        if entry.value.get("type") == "relation":  # it has no value
            continue
        value = entry.child("value")
        value.members()
        region = f"id {entry.get('id')}" if "id" in entry else f"number {number}"
        control = entry.text("from_name") if "from_name" in entry else ""
        regions[region].append(Result(control, entry.text("type"), value, entry))
    return list(regions.values())


def regions_of_min(entry: Entry) -> list[list[Result]]:
    """Return the values of JSON-MIN, which stand under the names of their controls.

    Args:
        entry: an item.

    Raises:
        AnnotationError: if it is no object.
    """
    results = []
    for control, values in entry.members().items():
        for value in values.items() if isinstance(values.value, list) else ():
            if "sequence" in value:
                results.append([Result(control, RECTANGLE, value, value)])
            elif isinstance(value.value, dict) and control != "predictions":
                results.append([Result(control, control, value, value)])
    return results


def main_results(
    regions: list[list[Result]], remarks: Counter[str]
) -> list[tuple[Result, list[Result]]]:
    """Return the result that has the key frames, and all that its region has.

    Args:
        regions: results of each.
        remarks: takes how many regions have no key frames.
    """
    found = []
    for region in regions:
        moving = [result for result in region if "sequence" in result.value]
        for main in [r for r in moving if r.kind == RECTANGLE] or moving[:1]:
            found.append((main, region))
        if not moving:
            for result in region:
                remarks[f"{result.kind} without a box: left out"] += 1
    return found
