"""Small text files that would fill the memory: bytes of the file to bytes of the peak."""

import gzip
import json

import pytest
from memory_growth import MEGABYTE, growth

IMPORT = """
from pathlib import Path
from tubedet.data.importers.formats import find_format
from tubedet.data.importers.labels import ImportOptions
from tubedet.errors import UserError
def read(path, name):
    return find_format(name).read(Path(path), ImportOptions(videos=Path(path).parent))
"""
READ = """
import tubedet.data.importers.json_file, tubedet.data.importers.label_names
import tubedet.data.annotations.ava_csv, tubedet.engine
from tubedet.errors import UserError
"""


def peak_of(path, call, prepare=READ, error="UserError"):
    """Bytes that a call takes, which ends with an error."""
    work = f"""
path = {str(path)!r}
try:
    {call}
except {error}:
    pass
else:
    raise SystemExit("accepted")
"""
    return growth(prepare, work)


@pytest.mark.parametrize(
    ("content", "call"),
    [
        # 560 MB of objects, 130 MB of rows, and a line of 60 MB.
        (b"[" + b"[]," * 8_000_000 + b"[]]", "tubedet.data.importers.json_file.read_json(path)"),
        (b"v,1,0,0,1,1,1\n" * 2_000_000, "tubedet.data.annotations.ava_csv.read_ava_csv(path)"),
        (b"v" * 60_000_000, "tubedet.data.annotations.ava_csv.read_ava_csv(path)"),
    ],
    ids=["json", "csv", "line"],
)
def test_packed_files(tmp_path, content, call):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(content, 9))
    assert path.stat().st_size < 80_000
    call = call.replace("(path)", "(__import__('pathlib').Path(path))")
    assert peak_of(path, call) < 160 * MEGABYTE


def test_a_label_map_of_a_megabyte_takes_thirty(tmp_path):
    """With a list of its tokens it took 230."""
    path = tmp_path / "a.pbtxt"
    fields = b"".join(b"%x:1 " % n for n in range(130_000))
    path.write_bytes(b"item {" + fields)
    assert 900_000 < path.stat().st_size < MEGABYTE
    call = "tubedet.data.annotations.ava_csv.read_label_map(path)"
    assert peak_of(path, call) < 48 * MEGABYTE


def test_an_index_file_of_empty_lists_takes_no_more_than_itself(tmp_path):
    path = tmp_path / ".a.mp4.frames.json"
    path.write_bytes(b'{"a":[' + b"[]," * 4_000_000 + b"[]]}")
    prepare = "from tubedet.data.video.index_files import load_index_file"
    video = str(tmp_path / "a.mp4")
    work = f"assert load_index_file({video!r}, size=1, mtime_ns=1) is None"
    assert growth(prepare, work) < 1.3 * path.stat().st_size


def test_the_index_of_a_long_film(tmp_path):
    """Two million frames of the shortest steps: seven bytes for each byte of the file."""
    video = str(tmp_path / "a.mp4")
    prepare = "from tubedet.data.video.index_files import load_index_file, save_index_file\n"
    prepare += "import numpy as np\n"
    content = '{"pts": np.arange(2_000_000), "is_counted": False, "end": ""}'
    growth(prepare, f"save_index_file({video!r}, {content}, size=5, mtime_ns=6)")
    size = (tmp_path / ".a.mp4.frames.json").stat().st_size
    work = f"assert len(load_index_file({video!r}, size=5, mtime_ns=6)['pts']) == 2_000_000"
    assert 4_000_000 < size < 4_001_000 and growth(prepare, work) < 20 * size


@pytest.mark.parametrize(
    ("name", "content", "call"),
    [
        ("a.yaml", b"MODEL: [" + b"1," * 500_000 + b"1]", "tubedet.engine.load_config(path, [])"),
        (
            "a.txt",
            b"".join(b"%x\n" % n for n in range(300_000)),
            "tubedet.data.importers.label_names.read_label_names(path)",
        ),
    ],
)
def test_files_that_are_too_large_for_what_they_are(tmp_path, name, content, call):
    path = tmp_path / name
    path.write_bytes(content)
    assert peak_of(path, call) < 32 * MEGABYTE


def track(frames_count, frame=1):
    """A region of Label Studio that is visible to the end of its video."""
    place = {"x": 1, "y": 1, "width": 10, "height": 10, "rotation": 0}
    value = {"framesCount": frames_count, "labels": ["walk"]}
    value["sequence"] = [{"frame": frame, "enabled": True, **place}]
    return {"type": "videorectangle", "from_name": "box", "value": value}


def test_lengths_that_a_file_states_take_nothing(tmp_path):
    """95 bytes took 1.2 GB."""
    cvat = tmp_path / "a.xml"
    task = "<task><size>9999999</size><source>a.mp4</source></task>"
    cvat.write_text(f"<annotations><meta>{task}</meta></annotations>")
    assert peak_of(cvat, 'read(path, "cvat")', IMPORT) < 32 * MEGABYTE
    studio = tmp_path / "a.json"
    tracks = [track(1_000_000) for _ in range(20)]
    studio.write_text(
        json.dumps([{"data": {"video": "a.mp4"}, "annotations": [{"result": tracks}]}])
    )
    assert studio.stat().st_size < 10_000
    assert peak_of(studio, 'read(path, "label-studio")', IMPORT) < 32 * MEGABYTE
