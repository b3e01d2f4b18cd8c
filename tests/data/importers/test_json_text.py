import gzip
import json
import tracemalloc

import pytest

from tubedet.data import AnnotationError
from tubedet.data.annotations import text
from tubedet.data.importers.json_file import read_json, read_json_object
from tubedet.data.importers.json_text import json_text

TEXT = '{"a": 1, "long": [ {"b": 1} , {"b": [2, "]"]}, {}], "c": {"long": [3]}, "empty": [ ]}'


def write(tmp_path, text, name="boxes.json"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_long_list_can_be_gone_through_again_and_names_its_entries(tmp_path):
    content = read_json_object(write(tmp_path, TEXT), "long", "empty", "a", "absent")
    assert content.value["a"] == 1 and content.value["c"] == {"long": [3]}
    for _ in range(2):
        assert [entry.value for entry in content.each("long")] == [{"b": 1}, {"b": [2, "]"]}, {}]
    assert [entry.place for entry in content.each("long")] == ["long[0]", "long[1]", "long[2]"]
    assert list(content.each("empty")) == []
    assert "absent" not in content


def test_a_long_list_is_not_held_in_memory(tmp_path):
    boxes = [{"id": i, "bbox": [i, 2.5, 3.5, 4.5], "note": "n" * 50} for i in range(5_000)]
    path = write(tmp_path, json.dumps({"annotations": boxes}))
    size = path.stat().st_size
    tracemalloc.start()
    try:
        content = read_json_object(path, "annotations")
        total = sum(entry.value["bbox"][0] for entry in content.each("annotations"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == sum(range(5_000))
    assert peak < 2.5 * size  # bytes and text; decoded, the list alone has five times the size


@pytest.mark.parametrize("read", [read_json, read_json_object])
@pytest.mark.parametrize(
    "encoded",
    [
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("utf-16"),
        gzip.compress(TEXT.encode(), mtime=0),
        b"\n \t" + TEXT.encode() + b"\r\n",
    ],
)
def test_encodings_and_gzip(tmp_path, read, encoded):
    assert read(write(tmp_path, encoded)).value == json.loads(TEXT)


@pytest.mark.parametrize("read", [read_json, lambda path: read_json_object(path, "a")])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{\n"a": [1,\n}', ":3"),
        ('{\n"a": [1\n2]}', ":3"),
        ('{"a": [1', ":1"),
        ('{"a": [', ":1"),
        ('{"a": [1]', ":1"),
        ('{"a" 1}', ":1"),
        ('{"a": 1,}', ":1"),
        ('{"a": 1 "b": 2}', ":1"),
        ("{a: 1}", ":1"),
        ('{"a": 1}\nx', ":2"),
        ("{", ":1"),
        ("", ":1"),
        ('{"a": [' + "9" * 5000 + "]}", ""),
        ('{"a": ' + "[" * 100_000, ""),
        (b'{"a": "\xff"}', ""),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-6], ""),
        (b"\x1f\x8b" + b"\0" * 30, ""),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path, read, text, line):
    path = write(tmp_path, text)
    with pytest.raises(AnnotationError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}{line}: ") and "\n" not in str(raised.value)


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    path = write(tmp_path, '{"a": [1],\n"a": [2]}')
    with pytest.raises(AnnotationError, match=r"boxes\.json:2: .*'a' occurs twice"):
        read_json_object(path, "a")


def test_other_values_than_objects_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"boxes\.json:1: expected an object"):
        read_json_object(write(tmp_path, "[1]"))


def test_a_small_file_does_not_unpack_to_gigabytes(tmp_path):
    path = write(tmp_path, gzip.compress(b"{}" + bytes(2**27), 9))
    assert path.stat().st_size < 2**18
    with pytest.raises(AnnotationError, match=r"boxes.json: it unpacks to more than 2\d,"):
        read_json(path)


def test_a_still_person_in_indented_json_packs_ninety_times(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_MIN_UNPACKED_BYTES", 0)
    place = {"bbox": [100.0, 200.0, 50.0, 80.0], "area": 4000.0, "segmentation": [], "iscrowd": 0}
    entries = [{"image_id": number, "category_id": 1, **place} for number in range(5000)]
    content = json.dumps({"annotations": entries}, indent=4).encode()
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(content, 9))
    assert 80 < len(content) / path.stat().st_size < 100
    assert json_text(path) == content.decode()
    path.write_bytes(gzip.compress(content + b" " * 10 * len(content), 9))
    with pytest.raises(AnnotationError, match="it unpacks to more than .* unpack it with gunzip"):
        json_text(path)
