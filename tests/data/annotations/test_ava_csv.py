"""Readers of the official AVA files."""

import gzip
import tracemalloc

import numpy as np
import pytest

from tubedet.data.annotations import ava_csv as ava_annotations
from tubedet.data.annotations.ava_csv import (
    AnnotationError,
    parse_ava_csv,
    read_ava_csv,
    read_label_map,
    read_timestamps,
)

ROWS = "b,0902,0.1,0.2,0.3,0.4,12,7\na,903,-0.5,0.2,1.5,0.1,80,1e-3\nb,0904,0,0,1,1,2,-4\n"


def write(folder, text, name="rows.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_keep_file_order_and_unusual_values(tmp_path):
    table = read_ava_csv(write(tmp_path, ROWS))
    assert len(table) == 3
    assert table.videos == ("b", "a")
    assert table.video_ids.tolist() == ["b", "a", "b"]
    assert table.timestamps.tolist() == [902.0, 903.0, 904.0]
    assert table.boxes.tolist() == [[0.1, 0.2, 0.3, 0.4], [-0.5, 0.2, 1.5, 0.1], [0, 0, 1, 1]]
    assert table.action_ids.tolist() == [12, 80, 2]
    assert table.scores.tolist() == [7.0, 1e-3, -4.0]
    assert table.person_ids.tolist() == [7, 0, -4]
    assert table.lines.tolist() == [1, 2, 3]


def test_last_column_may_be_missing():
    mixed = parse_ava_csv(["a,1,0,0,1,1,3\n", "a,1,0,0,1,1,4,0.5\n"], source="mixed")
    assert mixed.scores.tolist() == [1.0, 0.5]
    assert mixed.person_ids.tolist() == [-1, 0]
    seven = parse_ava_csv(["a,1,0,0,1,1,3\n"] * 2, source="seven")
    assert seven.scores.tolist() == [1.0, 1.0]


def test_empty_file_has_no_rows(tmp_path):
    table = read_ava_csv(write(tmp_path, ""))
    assert len(table) == 0
    assert table.boxes.shape == (0, 4)


def test_gzip_byte_order_mark_and_windows_line_ends(tmp_path):
    plain = read_ava_csv(write(tmp_path, ROWS))
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(("\ufeff" + ROWS.replace("\n", "\r\n")).encode()))
    table = read_ava_csv(packed)
    assert table.videos == plain.videos
    np.testing.assert_array_equal(table.boxes, plain.boxes)


def test_irregular_chunks_are_read_like_regular_ones(monkeypatch):
    rng = np.random.default_rng(0)
    lines = [
        f"video{rng.integers(9)},{902 + i // 5:04d},"
        + ",".join(f"{x:.4f}" for x in rng.random(4))
        + f",{rng.integers(1, 81)},{rng.random():.9f}\n"
        for i in range(100)
    ]
    regular = parse_ava_csv(lines, source="rows")
    monkeypatch.setattr(ava_annotations, "_LINES_PER_CHUNK", 7)
    lines[0] = '"' + lines[0].replace(",", '",', 1)  # quoted: not for the fast parser
    monkeypatch.setattr(ava_annotations._ChunkParser, "parse_uniform", lambda *_: None)
    by_rows = parse_ava_csv(lines, source="rows")
    for name in ("video_ids", "timestamps", "boxes", "action_ids", "scores", "lines"):
        np.testing.assert_array_equal(getattr(by_rows, name), getattr(regular, name), name)


def test_long_video_ids_are_not_cut():
    names = ["v", "v" * 200, "v" * 201]
    table = parse_ava_csv([f"{n},902,0,0,1,1,1,1\n" for n in names], source="rows")
    assert table.videos == tuple(names)


def test_ava_kinetics_has_decimals_and_empty_key_frames():
    lines = ["a,902.0,0,0,1,1,3\n", "a,0903\n", "b,1.2345678,0,0,1,1,3\n", "b,1.2345679\n"]
    table = parse_ava_csv(lines, source="rows", ava_kinetics=True)
    assert table.timestamps.tolist() == [902.0, 1.234568]
    assert table.lines.tolist() == [1, 3]
    assert table.empty_key_frames == (("a", 903.0), ("b", 1.234568))
    assert table.empty_lines == (2, 4)


def test_every_malformed_row_is_told_and_the_others_are_kept(tmp_path):
    rows = [
        '"a,902,0,0,1,1,3,1',
        "a,902,0,0,1,1,3,1",
        "a,902",
        "a,903,0,0,x,1,3,1",
        "a,904,0,0,1,1,4",
    ]
    path = write(tmp_path, "\n".join(rows))
    errors = []
    table = read_ava_csv(path, on_error=errors.append)
    assert table.lines.tolist() == [2, 5]
    assert [str(error).split(": ")[0] for error in errors] == [f"{path}:{n}" for n in (1, 3, 4)]
    errors = []
    path = write(tmp_path, "a,902\nb\nc,903\nd,x\n", "times.csv")
    assert read_timestamps(path, on_error=errors.append) == {("a", 902.0), ("c", 903.0)}
    assert [str(error).split(": ")[0] for error in errors] == [f"{path}:{n}" for n in (2, 4)]


def test_a_stray_quotation_mark_damages_one_line_only(tmp_path):
    path = write(tmp_path, ROWS + 'a,"902,0,0,1,1,3,1\n' + ROWS)
    with pytest.raises(AnnotationError, match=r"rows\.csv:4: "):
        read_ava_csv(path)


def test_a_very_wide_first_cell_reserves_no_memory():
    lines = ["v" * 100_000 + ",902,0,0,1,1,1,1\n"] + ["a,902,0,0,1,1,1,1\n"] * 16_000
    tracemalloc.start()
    try:
        assert len(parse_ava_csv(lines, source="rows")) == 16_001
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,902,0,0,1,1", "6 columns, expected 7 or 8"),
        ("a,902,0,0,1,1,3,0.5,9", "9 columns"),
        ("a,902", "AVA-Kinetics"),
        ("", "empty line"),
        ("video_id,timestamp,x1,y1,x2,y2,action_id,score", "'timestamp' in column 2"),
        ("a,902.0,0,0,1,1,3,1", "'902.0' in column 2 (timestamp): expected a whole number"),
        ("a,902,0,zero,1,1,3,1", "'zero' in column 4 (y1): expected a number"),
        ("a,902,0,0,nan,1,3,1", "'nan' in column 5 (x2): expected a finite number"),
        ("a,902,0,0,1,1,3.0,1", "'3.0' in column 7 (action_id): expected a whole number"),
        ("a,902,0,0,1,1,3,inf", "'inf' in column 8"),
        ("a,902,0,0,1,1,3,", "'' in column 8"),
        ("a,902,0,0,1,1," + "9" * 30 + ",1", "expected a whole number"),
    ],
)
def test_malformed_row_is_named(tmp_path, row, message):
    path = write(tmp_path, ROWS + row + "\n" + ROWS)
    with pytest.raises(AnnotationError) as caught:
        read_ava_csv(path)
    assert str(caught.value).startswith(f"{path}:4: ")
    assert message in str(caught.value)


def test_files_that_are_no_text(tmp_path):
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"a,902,\xff\xfe")
    with pytest.raises(AnnotationError, match=r"binary\.csv:1: not UTF-8"):
        read_ava_csv(binary)
    later = tmp_path / "later.csv.gz"
    later.write_bytes(gzip.compress(ROWS.encode() + b"a,902,\xff"))
    with pytest.raises(AnnotationError, match=r"later\.csv\.gz:4: not UTF-8"):
        read_ava_csv(later)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(ROWS.encode() * 50)[:-12])
    with pytest.raises(AnnotationError, match="cut off"):
        read_ava_csv(cut)
    with pytest.raises(FileNotFoundError):
        read_ava_csv(tmp_path / "absent.csv")


def test_timestamps(tmp_path):
    path = write(tmp_path, "a,0902\nb,903\na,902\n")
    assert read_timestamps(path) == {("a", 902.0), ("b", 903.0)}
    with pytest.raises(AnnotationError, match=r"more\.csv:2: 1 columns, expected 2"):
        read_timestamps(write(tmp_path, "a,0902\nb\n", "more.csv"))
    fraction = write(tmp_path, "a,902.5\n", "fraction.csv")
    with pytest.raises(AnnotationError, match=r"fraction\.csv:1: '902\.5' in column 2"):
        read_timestamps(fraction)
    assert read_timestamps(fraction, ava_kinetics=True) == {("a", 902.5)}


def test_both_forms_of_label_map(tmp_path):
    items = (
        'item {\n  name: "talk to (e.g., self)"\n  id: 79\n}\nitem {\n  name: "sit"\n  id: 11\n}\n'
    )
    labels = 'label {\r\n  name: "crawl"\r\n  label_id: 2\r\n  label_type: PERSON_MOVEMENT\r\n}\r\n'
    assert list(read_label_map(write(tmp_path, items)).items()) == [
        (79, "talk to (e.g., self)"),
        (11, "sit"),
    ]
    assert read_label_map(write(tmp_path, labels)) == {2: "crawl"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('item {\n  name: "sit"\n}\n', 1, "no id"),
        ("item {\n  id: 3\n}\n", 1, "no name"),
        ('item {\n  name: "sit"\n  id: x\n}\n', 1, "'x' in the id: expected a whole number"),
        (
            'item {\n  name: "sit"\n  id: 0\n}\n',
            1,
            "'0' in the id: expected a positive whole number",
        ),
        ('item {\n  name: "sit"\n  id: 999999999\n}\n', 1, "at most 100000"),
        ('item {\n  name: "sit"\n  id: ' + "9" * 5000 + "\n}\n", 1, "expected a whole number"),
        ('item { name: "sit" id: 1 }\nitem { name: "run" id: 1 }\n', 2, "occurs twice"),
        ('item { name: "sit" id: 1 }\nitem { name: "sit" id: 2 }\n', 2, "occurs twice"),
        ('item { name: "sit" id: 1 }\nitem {\n  name: "ru', 2, "no complete"),
        ("", None, "no 'item {...}'"),
    ],
)
def test_malformed_label_map(tmp_path, text, line, message):
    path = write(tmp_path, text, "map.pbtxt")
    with pytest.raises(AnnotationError) as caught:
        read_label_map(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert message in str(caught.value)


def test_what_is_too_long_for_a_label_map_is_not_read(tmp_path):
    path = write(tmp_path, "#" * (2**20 - 8) + "\n1: sit\n", "map.txt")
    assert read_label_map(path) == {1: "sit"}
    path.write_text("#" * (2**20 - 7) + "\n1: sit\n")
    with pytest.raises(AnnotationError, match="map.txt: more than 1,048,576 characters: is this"):
        read_label_map(path)


def test_videos_that_get_the_same_id_become_one():
    rows = ["b ,1,0,0,1,1,3\n", "a,1,0,0,1,1,4\n", "b,2,0,0,1,1,5\n", "a ,3\n"]
    table = parse_ava_csv(rows, source="rows", ava_kinetics=True).with_video_ids(str.strip)
    assert table.videos == ("b", "a") and table.video_ids.tolist() == ["b", "a", "b"]
    assert table.empty_key_frames == (("a", 3.0),) and table.video_index.dtype == np.int32


def test_blank_lines_are_left_out_if_wanted(tmp_path):
    path = write(tmp_path, "\n" + ROWS + ",,,\n\n")
    assert read_ava_csv(path, skip_blank=True).lines.tolist() == [2, 3, 4]
    with pytest.raises(AnnotationError, match=r"rows\.csv:1: empty line"):
        read_ava_csv(path)
    times = write(tmp_path, "a,1\n\n", "times.csv")
    assert read_timestamps(times, skip_blank=True) == {("a", 1.0)}
    with pytest.raises(AnnotationError, match=r"times\.csv:2: 0 columns"):
        read_timestamps(times)


def test_a_header_is_named_in_the_first_line_only(tmp_path):
    header = "video_id,timestamp,x1,y1,x2,y2,action_id\n"
    with pytest.raises(AnnotationError, match=r"rows\.csv:1: this line names the columns: remove"):
        read_ava_csv(write(tmp_path, header + ROWS))
