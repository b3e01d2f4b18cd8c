import pytest

from tubedet.data import AnnotationError
from tubedet.data.importers.label_names import read_label_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1: bend/bow (at the waist)\n3: crouch: low\n\n2:crawl\n", {1: "bend/bow (at the waist)"}),
        ("0: push up\n1: jump", {0: "push up", 1: "jump"}),
        ("# classes\nperson\n\ncar\n", {1: "person", 2: "car"}),
        ('item {\n  name: "sit"\n  id: 11\n}\nitem { name: "run" id: 2 }', {2: "run", 11: "sit"}),
        ('label { name: "sit" label_id: 11 label_type: PERSON_MOVEMENT }', {11: "sit"}),
    ],
)
def test_forms(tmp_path, text, names):
    (tmp_path / "names.txt").write_text(text)
    found = read_label_names(tmp_path / "names.txt")
    assert list(found) == sorted(found)
    assert {key: found[key] for key in names} == names
    if "crouch" in text:
        assert found == {**names, 2: "crawl", 3: "crouch: low"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"names\.txt: no names"),
        ("1: run\nwalk\n", r"names\.txt:2: 'walk', expected a line such as 1: walk"),
        ("run\n2: walk\n", r"names\.txt:2: '2: walk', expected"),
        ("1: run\n\n1: walk\n", r"names\.txt:3: '1: walk' occurs twice"),
        ("1: run\n2: run\n", r"names\.txt:2: '2: run' occurs twice"),
        ("run\nrun\n", r"names\.txt:2: 'run' occurs twice"),
        ("item { id: 3 }", r"names\.txt:1: this label map entry has no name"),
    ],
)
def test_errors_name_the_line(tmp_path, text, message):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_label_names(tmp_path / "names.txt")
