"""AVA figures against stored outputs of the official script and a plain re-statement of it."""

import heapq
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from ava_files import evaluate_files

from tubedet.data.annotations.ava_csv import AnnotationError, parse_ava_csv
from tubedet.evaluation.ava_protocol import evaluate_ava

FIXTURES = Path(__file__).parents[1] / "fixtures" / "ava_eval"
REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference" / "ava_eval"
REVISIONS = {"official": "off2019", "official_2018": "off2018", "official_2020": "off2020"}
# Tied scores are ranked by numpy's unstable sort, which differs between processors.
TIED_CASES = {"ties_across", "ties_in_image", "cap50_tie"}
CASES = sorted(path.name for path in (FIXTURES / "cases").iterdir())


def assert_equals_stored(result, stored):
    expected = {name: ap for name, ap in stored["per_class"].items() if ap is not None}
    defined = {name: ap for name, ap in result.per_class.items() if not math.isnan(ap)}
    assert defined == pytest.approx(expected, abs=1e-9)
    mean = stored.get("mAP", stored.get("mAP@0.5IOU"))
    assert result.mean_ap == pytest.approx(
        math.nan if mean is None else mean, abs=1e-9, nan_ok=True
    )


@pytest.mark.parametrize("protocol", REVISIONS)
@pytest.mark.parametrize("case", CASES)
def test_case_equals_official_script(case, protocol):
    folder = FIXTURES / "cases" / case
    stored = json.loads((folder / "expected.json").read_text())["results"][REVISIONS[protocol]]

    def evaluate():
        return evaluate_files(
            folder / "gt.csv",
            folder / "det.csv",
            FIXTURES / "labelmap60.pbtxt",
            folder / "excl.csv",
            protocol,
        )

    if "error" in stored:
        with pytest.raises(AnnotationError, match="official_2020"):
            evaluate()
        return
    result = evaluate()
    assert len(result.per_class) == 60
    if case in TIED_CASES:
        assert set(stored["per_class"]) == {n for n, ap in result.per_class.items() if ap >= 0}
    else:
        assert_equals_stored(result, stored)


def test_all_cases_are_there():
    assert len(CASES) == 27


@pytest.mark.parametrize(
    ("name", "groundtruth", "protocol", "stored"),
    [
        ("dense", "gt.csv.gz", "official", "off2019"),
        ("dense", "gt.csv.gz", "official_2018", "off2018"),
        ("dense", "gt.csv.gz", "official_2020", "off2020"),
        ("medium", "gt.csv.gz", "official", "off2019"),
        ("medium", "gt.csv.gz", "official_2018", "off2018"),
        ("medium", "gt_with_empty.csv.gz", "official_2020", "off2020"),
        ("medium", "gt.csv.gz", "official_2020", "off2020_gt_without_empty_rows"),
    ],
)
def test_large_set_equals_official_script_in_seconds(name, groundtruth, protocol, stored):
    folder = REFERENCE / name
    if not folder.is_dir():
        pytest.skip(f"the reference set {name} (2 MB) is not part of the repository")
    start = time.process_time()
    result = evaluate_files(
        folder / groundtruth,
        folder / "det.csv.gz",
        FIXTURES / "labelmap60.pbtxt",
        FIXTURES / "exclusions_val.csv",
        protocol,
    )
    assert time.process_time() - start < 10  # about 1 s; the margin is for slow machines
    assert_equals_stored(result, json.loads((folder / f"expected_{stored}.json").read_text()))


def plain_official(gt_lines, det_lines, classes, excluded, protocol):
    """The official script in plain Python: class id -> AP (classes with ground truth only)."""
    capacity = None if protocol == "official_2018" else 50

    def read(lines, capacity):
        entries, listed = defaultdict(list), set()
        for line in lines:
            video, second, *numbers = line.strip().split(",")
            key = (video, int(second))
            listed.add(key)
            if not numbers or int(numbers[4]) not in classes:
                continue
            x1, y1, x2, y2 = map(float, numbers[:4])
            entry = (float(numbers[5]), int(numbers[4]), y1, x1, y2, x2)
            if protocol == "official_2018":
                entries[key].append(entry)
            elif capacity is None or len(entries[key]) < capacity:
                heapq.heappush(entries[key], entry)
            elif entry[0] > entries[key][0][0]:
                heapq.heapreplace(entries[key], entry)
        if protocol != "official_2018":
            entries = {key: sorted(e, key=lambda x: -x[0]) for key, e in entries.items()}
        return entries, listed

    def iou(a, b):
        height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        inside = max(height, 0) * max(width, 0)
        area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
        return inside / (area_a + area_b - inside)

    groundtruth, listed = read(gt_lines, None)
    detections, _ = read(det_lines, capacity)
    scores, hits, counts = defaultdict(list), defaultdict(list), defaultdict(int)
    for key, entries in groundtruth.items():
        for entry in entries:
            counts[entry[1]] += key not in excluded
    for key, entries in detections.items():
        if key in excluded or (protocol == "official_2020" and key not in listed):
            continue
        for class_id in classes:
            mine = [e for e in entries if e[1] == class_id and e[2] < e[4] and e[3] < e[5]]
            if protocol == "official_2018" and mine:
                mine = [mine[i] for i in np.argsort([e[0] for e in mine])[::-1]]
            boxes = [e[2:] for e in groundtruth.get(key, []) if e[1] == class_id]
            taken = set()
            for entry in mine:
                ious = [iou(entry[2:], box) for box in boxes]
                best = int(np.argmax(ious)) if ious else -1
                hit = best >= 0 and ious[best] >= 0.5 and best not in taken
                taken |= {best} if hit else set()
                scores[class_id].append(entry[0])
                hits[class_id].append(hit)
    aps = {}
    for class_id in (c for c in classes if counts[c]):
        ranked = [hits[class_id][i] for i in np.argsort(scores[class_id])[::-1]]
        precision = [sum(ranked[: i + 1]) / (i + 1) for i in range(len(ranked))]
        gains = [max(precision[i:]) for i, hit in enumerate(ranked) if hit]
        aps[class_id] = sum(gains) / counts[class_id]
    return aps


def random_rows(rng, count, videos, score):
    """Rows on a coarse grid, so that boxes, overlaps and scores are often equal."""
    rows = []
    for _ in range(count):
        x, y = rng.integers(0, 4, 2)
        width, height = rng.integers(0 if score == "tied" else 2, 4, 2)
        last = {"tied": rng.integers(6) / 8, "person": rng.integers(3)}.get(score, rng.random())
        rows.append(
            f"{rng.choice(videos)},{rng.integers(902, 906):04d},{x / 8},{y / 8},"
            f"{(x + width) / 8},{(y + height) / 8},{rng.integers(1, 6)},{last}\n"
        )
    return rows


@pytest.mark.parametrize("protocol", REVISIONS)
@pytest.mark.parametrize("score", ["tied", "distinct"])
@pytest.mark.parametrize("seed", range(3))
def test_random_rows_equal_plain_statement(protocol, score, seed):
    rng = np.random.default_rng(seed)
    gt_lines = random_rows(rng, 60, ["a", "b", "c"], "person")
    det_lines = random_rows(rng, 900, ["a", "b", "d"], score)
    excluded = set() if protocol == "official_2020" else {("a", 903), ("x", 902)}
    if protocol == "official_2020":
        gt_lines = [line for line in gt_lines if not line.startswith("a,0904")] + ["d,0902\n"]
    label_map = {4: "four", 1: "one", 2: "two", 5: "five", 9: "nine"}  # class 3 is not evaluated
    kinetics = protocol == "official_2020"
    result = evaluate_ava(
        parse_ava_csv(gt_lines, source="gt", ava_kinetics=kinetics),
        parse_ava_csv(det_lines, source="det", ava_kinetics=kinetics),
        label_map,
        {(video, float(second)) for video, second in excluded},
        protocol,
    )
    expected = plain_official(gt_lines, det_lines, sorted(label_map), excluded, protocol)
    assert len(expected) == 4
    assert list(result.per_class) == list(label_map.values())
    assert math.isnan(result.per_class["nine"])
    defined = {i: result.per_class[name] for i, name in label_map.items() if i in expected}
    assert defined == pytest.approx(expected, abs=1e-12)
    assert result.mean_ap == pytest.approx(np.mean(list(expected.values())), abs=1e-12)


def test_totals():
    gt = parse_ava_csv(["a,1,0,0,1,1,1\n", "a,1,0,0,1,1,2\n", "b,1,0,0,1,1,3\n"], source="gt")
    det = parse_ava_csv(["a,1,0,0,1,1,1,0.5\n", "c,7,1,0,0,1,2,0.5\n"], source="det")
    result = evaluate_ava(gt, det, {1: "one", 2: "two"})
    assert result.per_class == {"one": 1.0, "two": 0.0}
    assert result.groundtruth_per_class == {"one": 1, "two": 1}
    totals = (result.num_key_frames, result.num_groundtruth, result.num_detections)
    assert totals == (1, 2, 1)


def test_unusable_input_is_refused(caplog):
    gt = parse_ava_csv(["a,1,0,0,1,1,1\n", "a,1,0.9,0,0.1,1,1\n"], source="gt.csv")
    fine = parse_ava_csv(["a,1,0,0,1,1,1\n"], source="fine.csv")
    half = parse_ava_csv(["a,1.5,0,0,1,1,1\n"], source="half.csv", ava_kinetics=True)
    empty = parse_ava_csv(["a,1\n"], source="empty.csv", ava_kinetics=True)
    with pytest.raises(AnnotationError, match=r"gt\.csv:2: inverted ground-truth box"):
        evaluate_ava(gt, fine, {1: "one"})
    with pytest.raises(AnnotationError, match=r"half\.csv:1: timestamp 1\.5"):
        evaluate_ava(fine, half, {1: "one"})
    with pytest.raises(AnnotationError, match=r"empty\.csv: two-column rows"):
        evaluate_ava(empty, fine, {1: "one"}, protocol="official_2018")
    with pytest.raises(ValueError, match="unknown AVA protocol 'voc', known are official"):
        evaluate_ava(fine, fine, {1: "one"}, protocol="voc")
    assert not caplog.records
    result = evaluate_ava(fine, fine, {1: "one"}, {("a", 1.0)}, "official_2020")
    assert result.mean_ap == 1.0
    assert "no excluded key frames" in caplog.text
