"""Ground truth by the name of a data set."""

import pytest
from detectron2.data import MetadataCatalog

from tubedet.data.annotations.ava_csv import parse_ava_csv
from tubedet.evaluation.ava_groundtruth import (
    AVAGroundtruth,
    load_ava_groundtruth,
    persons_of,
    read_ava_groundtruth,
)

LABEL_MAP = 'item { name: "sit" id: 11 }\n'


@pytest.fixture
def metadata(request):
    name = request.node.name
    yield MetadataCatalog.get(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def files(tmp_path):
    contents = {
        "truth.csv": "film,902,0,0,1,1,11\nfilm,903,0,0,1,1,11\n",
        "map.pbtxt": LABEL_MAP,
        "excluded.csv": "film,903\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return [tmp_path / name for name in contents]


def test_paths_of_the_metadata(metadata, files):
    truth, label_map, excluded = files
    metadata.set(groundtruth_csv=str(truth), label_map=str(label_map))
    read = load_ava_groundtruth(metadata.name, ava_kinetics=False)
    assert (len(read.table), read.label_map, read.exclusions) == (2, {11: "sit"}, set())
    metadata.set(exclusions_csv=str(excluded))
    assert load_ava_groundtruth(metadata.name, ava_kinetics=False).exclusions == {("film", 903.0)}
    assert read_ava_groundtruth(*files, ava_kinetics=True).exclusions == {("film", 903.0)}


def test_callable_of_the_metadata(metadata):
    def read(*, ava_kinetics):
        source = f"kinetics {ava_kinetics}"
        return parse_ava_csv(["a,1,0,0,1,1,1"], source=source), {1: "go"}, {("a", 2.0)}

    metadata.set(groundtruth=read)
    groundtruth = load_ava_groundtruth(metadata.name, ava_kinetics=True)
    assert groundtruth.table.source == "kinetics True"
    assert (groundtruth.label_map, groundtruth.exclusions) == ({1: "go"}, {("a", 2.0)})


def test_a_box_with_several_actions_is_one_person():
    rows = ["film,902,0,0,1,1,11,4", "film,902,0,0,1,1,80,4", "film,903,0,0,1,1,11,4"]
    rows += ["film,902,0,0,0.5,1,3,5", "other,902,0,0,1,1,11,4"]
    truth = AVAGroundtruth(
        parse_ava_csv(rows, source="truth.csv"),
        {11: "sit"},
        {("film", 903.0)},
    )
    persons = persons_of(truth)
    assert persons.table.lines.tolist() == [1, 3, 4, 5]
    assert persons.table.boxes.tolist() == truth.table.boxes[[0, 2, 3, 4]].tolist()
    assert persons.table.action_ids.tolist() == [1, 1, 1, 1]
    assert persons.label_map == {1: "person"} and persons.exclusions == truth.exclusions
