"""Label maps as people write them."""

import pytest

from tubedet.data.annotations.ava_csv import read_label_map
from tubedet.data.annotations.label_map_entries import label_map_entries
from tubedet.data.annotations.text import AnnotationError

TWO = {1: "walk", 2: "run # {not} a comment"}


@pytest.mark.parametrize(
    "text",
    [
        '# actions\nitem {\n  name: "walk"  # one\n  id: 1\n}\n'
        'item {\n  # two\n  name: "run # {not} a comment"\n  id: 2\n}\n# item { id: 3 }\n',
        "item { name: 'walk' id: 1 }\nitem { id: 2 name: 'run # {not} a comment' }",
        'item: { id:1, name:"walk" }, item: <id:2; name:"run # {not} a comment">',
        "# of mmaction2\n1: walk\n\n  2 :  run # {not} a comment  \r\n",
    ],
    ids=["comments", "single quotes", "commas and colons", "lines"],
)
def test_every_form_is_read(tmp_path, text):
    path = tmp_path / "map"
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert read_label_map(path) == TWO


def test_names_with_quotes_and_names_for_display():
    text = 'item { name: "say \\"x\\"" id: 1 }\nitem { id: 2 display_name: "it\'s" }'
    entries = list(label_map_entries(text, "map"))
    assert [(e.line, e.name, e.id) for e in entries] == [(1, 'say "x"', "1"), (2, "it's", "2")]
    (entry,) = label_map_entries('item { name: "/m/01" id: 1 display_name: "walk" }', "map")
    assert entry.name == "/m/01"


@pytest.mark.parametrize(
    "text, message",
    [
        ("walk\nrun\n", "map:1: 'walk' is no complete 'item {...}' or 'label {...}' entry"),
        ("1: walk\nrun\n", "map:2: expected the number of a class and its name, such as '1: walk'"),
        ("0: walk\n", "map:1: '0' in the id: expected a positive whole number"),
        ('{"1": "walk"}', "map:1: "),
        ("item { name: walk id }", "map:1: 'item { name: walk id }' is no complete"),
        ("item { name: 'walk id: 1 }", "map:1: "),
        ("item", "map:1: 'item' is no complete"),
        ('\n\nitem { name: "walk" id: 1', "map:3: "),
    ],
)
def test_other_text_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "map"
    path.write_text(text)
    with pytest.raises(AnnotationError) as caught:
        read_label_map(path)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_messages_are_short_and_lines_are_counted():
    text = "item { name: 'a' id: 1 }\n\n# b\n" + "x" * 500
    with pytest.raises(AnnotationError, match=r"^a\.pbtxt:4: 'x{80}' is no complete"):
        list(label_map_entries(text, "a.pbtxt"))
