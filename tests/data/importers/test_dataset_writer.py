import math
import os

import pytest

from tubedet.data import AnnotationError
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.dataset_writer import write_custom_dataset
from tubedet.data.importers.labels import Labels, PersonBox

BOXES = [
    PersonBox("b", 2, (0, 1, 2.5, 3), ("run",), 4),
    PersonBox("a", 10, (0, 1, 2, 3), ("wave",), 0),
]


def write(folder, name="my.yaml", boxes=BOXES, looked_at=(), **changes):
    (folder / "videos").mkdir(exist_ok=True)
    options = {
        "inputs": ["export.xml"],
        "classes": ["run", "wave"],
        "videos": folder / "videos",
        "fps": 25.0,
        "exclusive": False,
        **changes,
    }
    labels = Labels(boxes=list(boxes), looked_at=set(looked_at))
    write_custom_dataset(folder / name, labels, **options)


def test_rows_are_sorted_and_boxed_frames_are_not_empty(tmp_path):
    empty = [("b", 2), ("b", 1), ("a", 11), ("a", 9), ("a", 9)]
    write(tmp_path, "my.yml", looked_at=empty)
    assert (tmp_path / "my.csv").read_text() == (
        "a,9\na,10,0,1,2,3,2,0\na,11\nb,1\nb,2,0,1,2.5,3,1,4\n"
    )
    assert "annotations: my.csv" in (tmp_path / "my.yml").read_text()


def test_starts_of_videos(tmp_path):
    (tmp_path / "videos").mkdir()

    def starts(**start_seconds):
        boxes = [PersonBox(video, 20, (0, 0, 1, 1), ("run",), None) for video in ("a", "b")]
        labels = Labels(boxes=boxes, in_seconds=True, in_fractions=True)
        labels.start_seconds = start_seconds
        options = {"inputs": [], "videos": tmp_path / "videos", "fps": 25.0, "overwrite": True}
        write_custom_dataset(tmp_path / "my.yaml", labels, **options)
        return read_custom_yaml(tmp_path / "my.yaml").start_second

    assert starts() == starts(a=0.0, b=0.0) == 0
    assert starts(a=12.0, b=12.0) == 12 and not (tmp_path / "my_starts.csv").exists()
    assert starts(a=12.5) == {"a": 12.5, "b": 0.0}
    assert (tmp_path / "my_starts.csv").read_text() == "a,12.5\nb,0\n"


def test_a_failing_disk_leaves_the_old_data_set(tmp_path, monkeypatch):
    write(tmp_path)
    before = (tmp_path / "my.csv").read_text()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write(tmp_path, boxes=BOXES[:1], overwrite=True)
    assert (tmp_path / "my.csv").read_text() == before and before.count("\n") == 2
    assert sorted(os.listdir(tmp_path)) == ["my.csv", "my.yaml", "videos"]


@pytest.mark.parametrize("name", ["t.csv", "t", "t.json", ".yaml"])
def test_other_names_than_yaml_are_refused(tmp_path, name):
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(AnnotationError, match=r"expected a name that ends in \.yaml or \.yml"):
        write(tmp_path, name, overwrite=True)
    assert (tmp_path / "t.csv").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["t.csv", "videos"]


@pytest.mark.parametrize("target", ["my.yaml", "my.csv"])
@pytest.mark.parametrize("link", [os.link, os.symlink, None])
def test_inputs_are_never_replaced(tmp_path, target, link):
    source = tmp_path / ("input.xml" if link else target)
    source.write_text("mine")
    if link:
        link(source, tmp_path / target)
    with pytest.raises(
        AnnotationError, match=f"{target} are the same file: the input would be replaced"
    ):
        write(tmp_path, inputs=["other.xml", source], overwrite=True)
    assert source.read_text() == (tmp_path / target).read_text() == "mine"
    assert len(os.listdir(tmp_path)) == (3 if link else 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 0.0}, "--fps 0: expected a positive number"),
        ({"fps": -25.0}, "--fps -25: expected a positive number"),
        ({"fps": math.nan}, "--fps nan: expected a positive number"),
        ({"videos": "absent"}, "--videos absent: there is no such folder"),
        ({"boxes": []}, r"^export\.xml: no box of a person with an action"),
        ({"boxes": [BOXES[0]._replace(video_id="\ud800")]}, "a name is no text in UTF-8"),
    ],
)
def test_nothing_is_written_that_cannot_be_used(tmp_path, changes, message):
    for name in ("my.yaml", "my.csv"):
        (tmp_path / name).write_text("before")
    with pytest.raises(AnnotationError, match=message):
        write(tmp_path, overwrite=True, **changes)
    assert (tmp_path / "my.yaml").read_text() == (tmp_path / "my.csv").read_text() == "before"
