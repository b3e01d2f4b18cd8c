import pytest

from tubedet.data import AnnotationError
from tubedet.data.datasets.custom_yaml import read_custom_yaml

COMPLETE = """\
# comment
videos: media
annotations: a.csv
classes: [jump, "stand, still", wave]
fps: 30000/1001
exclusive: true
boxes: pixels
timestamps: seconds
start_second: 900
excluded: ex.csv
"""


@pytest.fixture
def read(tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "a.csv").touch()
    (tmp_path / "ex.csv").touch()

    def read(text):
        path = tmp_path / "my.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_custom_yaml(path)

    return read


def test_all_keys(read, tmp_path):
    own = read(COMPLETE)
    assert own.path == str(tmp_path / "my.yaml")
    assert own.videos == str(tmp_path / "media") and own.annotations == str(tmp_path / "a.csv")
    assert own.excluded == str(tmp_path / "ex.csv")
    assert own.classes == {1: "jump", 2: "stand, still", 3: "wave"}
    assert own.action_names == ["jump", "stand, still", "wave"]
    assert own.fps == 30000 / 1001 and own.start_second == 900.0 and own.exclusive
    assert (own.boxes, own.timestamps) == ("pixels", "seconds")


def test_a_start_for_each_video(read, tmp_path):
    (tmp_path / "starts.csv").write_text('video,second\ngym,12\n"a,b",-0.5\n\n')
    own = read(COMPLETE.replace("start_second: 900", "start_second: starts.csv"))
    assert own.start_second == {"gym": 12.0, "a,b": -0.5}
    assert own.start_of("a,b") == -0.5 and read(COMPLETE).start_of("a,b") == 900
    with pytest.raises(
        AnnotationError, match=r"my\.yaml: key 'start_second': its csv has no row fo"
    ):
        own.start_of("hall")
    text = COMPLETE.replace("start_second: 900", "start_second: starts.csv")
    with pytest.raises(
        AnnotationError, match=r"9: key 'start_second': frame numbers have no clock"
    ):
        read(text.replace("timestamps: seconds", "timestamps: frames"))
    with pytest.raises(
        AnnotationError, match=r"9: key 'start_second': expected a number .* no such"
    ):
        read(text.replace("starts.csv", "gone.csv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"starts\.csv: no rows of video,second"),
        ("gym,1\ngym,2\n", r"starts\.csv:2: the video 'gym' has a row already"),
        ("gym,1,2\n", r"starts\.csv:1: 3 columns, expected 2"),
        ("gym,a\n", r"starts\.csv:1: 'a' in column 2 \(second\): expected a number"),
        ("gym,nan\n", r"starts\.csv:1: 'nan' in column 2 \(second\): expected a finite number"),
        ("gym,1e9\n", r"starts\.csv:1: no video begins at second 1e\+09"),
        (b"\xff,1\n", r"starts\.csv:1: not UTF-8 text"),
    ],
)
def test_a_damaged_csv_of_starts(read, tmp_path, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "starts.csv").write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        read(COMPLETE.replace("start_second: 900", "start_second: starts.csv"))


def test_defaults_and_a_label_map(read, tmp_path):
    (tmp_path / "map.pbtxt").write_text('item {\n  name: "sit"\n  id: 3\n}\n')
    own = read("videos: media\nannotations: a.csv\nclasses: map.pbtxt\nfps: 25\n")
    assert own.action_names == ["action 1", "action 2", "sit"]
    assert (own.boxes, own.timestamps, own.start_second) == ("fractions", "seconds", 0.0)
    assert own.exclusive is False and own.excluded is None and own.fps == 25.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fps: 30000/1001", "fps: fast", r"5: key 'fps': expected a number such as"),
        ("fps: 30000/1001", "fps: 1e999999999", r"5: key 'fps': expected a finite number"),
        ("fps: 30000/1001", "fps: 30/0", r"5: key 'fps': expected a number"),
        ("fps: 30000/1001", "fps: -25", r"5: key 'fps': expected a positive number, got -25"),
        ("fps: 30000/1001", "fps:", r"5: key 'fps': expected a number such as"),
        ("fps: 30000/1001\n", "", r"1: the keys fps are missing"),
        ("exclusive: true", "exclusive: 7", r"6: key 'exclusive': expected true or false"),
        ("boxes: pixels", "boxes: meters", r"7: key 'boxes': .*fractions or pixels, got 'meters'"),
        ("boxes: pixels", "boxes: [pixels]", r"7: key 'boxes': expected one value"),
        ("pixels", '!!python/object/apply:os.system ["false"]', r"7: key 'boxes': expected one"),
        ("boxes: pixels", "box: pixels", r"7: unknown key 'box'; known: videos,"),
        ("boxes: pixels", "fps: 25", r"7: key 'fps' occurs twice"),
        ("boxes: pixels", "? [a]\n: b", r"7: unknown key None"),
        ("videos: media", "videos: gone", r"2: key 'videos': there is no folder '.*gone'"),
        ("a.csv", "gone.csv", r"3: key 'annotations': there is no file '.*gone\.csv'"),
        ("a.csv", '"a\\0b"', r"3: key 'annotations': there is no file"),
        ("wave]", "jump]", r"4: key 'classes': expected different names"),
        ("wave]", "[]]", r"4: key 'classes': expected one value"),
        ("wave]", "wave", r"no valid yaml"),
        ("timestamps: seconds", "timestamps: frames", r"9: key 'start_second': frame numbers"),
        ("# comment", "\ttab: 1", r"1: no valid yaml"),
    ],
)
def test_errors_name_file_line_and_key(read, old, new, message):
    assert old in COMPLETE
    with pytest.raises(AnnotationError, match=r"my\.yaml:\d+: ") as error:
        read(COMPLETE.replace(old, new, 1))
    assert error.match(r"my\.yaml:" + message if message[0].isdigit() else message)


@pytest.mark.parametrize(
    "content",
    [b"", b"- a\n", b"text", b"\xff\xfe\xfa", b"a: &a [*a]\n", b"[" * 5000, b"#" * 300_000],
    ids=["empty", "list", "scalar", "bytes", "recursive", "deep", "large"],
)
def test_other_files_are_refused(read, content):
    with pytest.raises(AnnotationError, match=r"my\.yaml:1: "):
        read(content)


def test_broken_label_map_is_named(read, tmp_path):
    (tmp_path / "map.pbtxt").write_text("sit")
    with pytest.raises(AnnotationError, match=r"map\.pbtxt:1"):
        read("videos: media\nannotations: a.csv\nclasses: map.pbtxt\nfps: 25\n")


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("{1: walk, 2: run}", {1: "walk", 2: "run"}),
        ("\n  2: walk\n  1: run", {2: "walk", 1: "run"}),
        ("{1: walk, 3: run}", {1: "walk", 3: "run"}),  # as in a label map
        ("[yes, off, 01, 1.0]", {1: "yes", 2: "off", 3: "01", 4: "1.0"}),
        ('[" walk", "null"]', {1: "walk", 2: "null"}),
        ("label_map.txt", {1: "walk", 2: "run"}),
    ],
)
def test_classes_in_every_form(read, tmp_path, classes, names):
    (tmp_path / "label_map.txt").write_text("1: walk\n2: run\n")
    own = read(COMPLETE.replace('[jump, "stand, still", wave]', classes))
    assert own.classes == names
    assert len(own.action_names) == max(names)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("{0: walk, 1: run}", "'0' is no id of a class, which count from 1, here and in the csv"),
        ("{walk: 1}", "'walk' is no id of a class"),
        ("{1.5: walk}", "'1.5' is no id"),
        ("{1: walk, 1: run}", "the id 1 occurs twice"),
        ("{1: walk, 2: walk}", r"expected different names; write \[walk, wave\], or \{1: walk, 2"),
        ("[walk, ' walk ']", "expected different names"),
        ("{}", "expected different names"),
        ("[walk, ~]", "a class has no name"),
        ("[{id: 1, name: walk}]", "expected one value for each class, its name"),
        ("walk, run", r"there is no label map '.*walk, run'; write \[walk, wave\]"),
    ],
)
def test_classes_that_cannot_be_meant_so(read, classes, message):
    with pytest.raises(AnnotationError, match=rf"my\.yaml:4: key 'classes': {message}"):
        read(COMPLETE.replace('[jump, "stand, still", wave]', classes))
