import pytest

from tubedet.cli.running import run_command
from tubedet.data.datasets.custom import load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml

EXPORT = """\
<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <name>task</name>
      <size>4</size>
      <start_frame>2</start_frame>
      <frame_filter>step=2</frame_filter>
      <labels><label><name>run</name><attributes/></label></labels>
    </task>
    <source>gym.mp4</source>
  </meta>
  <track id="0" label="run" source="manual">
    <box frame="2" outside="0" occluded="0" keyframe="1" xtl="1.5" ytl="2" xbr="30" ybr="40">
      <attribute name="talk">true</attribute>
      <attribute name="pose">stand</attribute>
      <attribute name="mood">glad</attribute>
    </box>
    <box frame="4" outside="0" occluded="0" keyframe="0" xtl="2.5" ytl="2" xbr="31" ybr="40">
      <attribute name="talk">false</attribute>
      <attribute name="pose">stand</attribute>
    </box>
    <box frame="6" outside="1" occluded="0" keyframe="1" xtl="2.5" ytl="2" xbr="31" ybr="40"/>
  </track>
  <track id="3" label="wave" source="manual">
    <box frame="4" outside="0" occluded="0" keyframe="1" xtl="0" ytl="0" xbr="9" ybr="9"/>
    <points frame="4" outside="0" occluded="0" keyframe="1" points="1,2"/>
  </track>
</annotations>
"""


# Frames and tracks of the same video as in EXPORT, as another annotator has them.
SECOND = """\
<annotations>
  <meta>
    <task><size>4</size><start_frame>4</start_frame></task>
    <source>gym.mp4</source>
  </meta>
  <track id="0" label="wave"><box frame="4" xtl="50" ytl="2" xbr="60" ybr="40"/></track>
  <track id="1" label="run"><box frame="6" xtl="50" ytl="2" xbr="60" ybr="40"/></track>
</annotations>
"""


def run(tmp_path, text, *options, classes=("run", "wave"), name="export.xml", others=()):
    (tmp_path / "videos").mkdir(exist_ok=True)
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = [
        str(path),
        *map(str, others),
        "--videos",
        str(tmp_path / "videos"),
        "--fps",
        "25",
        *options,
    ]
    output = ["--output", str(tmp_path / "my.yaml")]
    return run_command("import", ["cvat", *arguments, *output, "--classes", *classes])


def test_labels_of_tracks_are_actions(tmp_path):
    assert run(tmp_path, EXPORT) == 0
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,3,1.5,2,30,40,1,0",
        "gym,5,2.5,2,31,40,1,0",
        "gym,5,0,0,9,9,2,3",
        "gym,7",
        "gym,9",
    ]
    own = read_custom_yaml(tmp_path / "my.yaml")
    assert own.classes == {1: "run", 2: "wave"} and own.videos == f"{tmp_path}/videos"
    tubes = load_tubes(own)["gym"].tubes
    assert [(t.person_id, t.frames.tolist()) for t in tubes] == [(0, [3, 5]), (3, [5])]


def test_attributes_are_actions(tmp_path):
    options = ("--attribute", "talk", "--attribute", "pose")
    assert run(tmp_path, EXPORT, *options, classes=("stand", "talk")) == 0
    # The person without such an attribute has no action; the frame is not empty for that.
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,3,1.5,2,30,40,1,0",
        "gym,3,1.5,2,30,40,2,0",
        "gym,5,2.5,2,31,40,1,0",
        "gym,7",
        "gym,9",
    ]


def test_an_export_without_a_source_is_named_after_its_file(tmp_path):
    text = EXPORT.replace("<source>gym.mp4</source>", "").replace("<size>4</size>", "")
    assert run(tmp_path, text, name="hall.xml") == 0
    lines = (tmp_path / "my.csv").read_text().splitlines()
    assert len(lines) == 3 and all(line.startswith("hall,") for line in lines)


def test_exports_of_the_same_video_are_put_together(tmp_path, capsys):
    first, third = tmp_path / "first.xml", tmp_path / "third.xml"
    first.write_text(EXPORT)
    third.write_text(SECOND.replace("gym.mp4", "hall.mp4"))
    assert run(tmp_path, SECOND, name="second.xml", others=[first, third]) == 0
    assert "my.yaml: 7 boxes in 2 videos" in capsys.readouterr().out
    # Persons 0 and 1 of the file named first, then 2 and 5, which are 0 and 3 there.
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,3,1.5,2,30,40,1,2",
        "gym,5,2.5,2,31,40,1,2",
        "gym,5,50,2,60,40,2,0",
        "gym,5,0,0,9,9,2,5",
        "gym,6",
        "gym,7,50,2,60,40,1,1",
        "gym,8",
        "gym,9",
        "hall,5,50,2,60,40,2,0",
        "hall,6",
        "hall,7,50,2,60,40,1,1",
        "hall,8",
    ]
    own = read_custom_yaml(tmp_path / "my.yaml")
    assert sorted(t.person_id for t in load_tubes(own)["gym"].tubes) == [0, 1, 2, 5]


def test_a_frame_with_a_person_without_an_action_is_empty_in_no_export(tmp_path):
    first = tmp_path / "first.xml"
    first.write_text(EXPORT)
    # The person in frame 6 of the second export has no attribute.
    options = {"classes": ["stand"], "name": "second.xml", "others": [first]}
    assert run(tmp_path, SECOND, "--attribute", "pose", **options) == 0
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,3,1.5,2,30,40,1,0",
        "gym,5,2.5,2,31,40,1,0",
        "gym,6",
        "gym,8",
        "gym,9",
    ]


def test_a_file_named_twice(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, EXPORT, others=[f"{tmp_path}/videos/../export.xml"])
    assert "xml: a file occurs twice" in capsys.readouterr().err


TASK = "<task><size>4</size></task>"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("<version>1.1</version>", f"<meta><project><tasks>\n{TASK}\n{TASK}</tasks>", 5),
        ("</source>", "</source><source>hall.mp4</source>", 12),
        ('<track id="3"', '<track task_id="4" id="3"', 26),
    ],
)
def test_several_tasks_in_one_file_are_refused(tmp_path, capsys, old, new, line):
    assert old in EXPORT
    assert run(tmp_path, EXPORT.replace(old, new)) == 2
    error = capsys.readouterr().err
    assert f"export.xml:{line}: a second task: this is the export of a project" in error
    assert "export every task for itself" in error
    assert not (tmp_path / "my.csv").exists()


def test_a_project_of_one_task_is_read(tmp_path):
    text = EXPORT.replace("<task>", "<project><tasks><task>")
    text = text.replace("</task>", "</task></tasks></project>")
    assert run(tmp_path, text.replace("<track id=", '<track task_id="4" id=')) == 0
    assert len((tmp_path / "my.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("fps", ["0", "-25", "nan", "inf"])
def test_a_frame_rate_is_positive(tmp_path, capsys, fps):
    assert run(tmp_path, EXPORT, f"--fps={fps}") == 2
    assert f"--fps {fps}: expected a positive number" in capsys.readouterr().err
    assert not (tmp_path / "my.csv").exists()


def test_an_export_without_boxes(tmp_path, capsys):
    assert run(tmp_path, EXPORT, "--attribute", "other") == 2
    assert "export.xml: no box of a person with an action" in capsys.readouterr().err
    assert not (tmp_path / "my.csv").exists()


ENTITIES = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]>\n<annotations>&y;'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<annotations>", ENTITIES, "2: document type and entity declarations"),
        ("<annotations>", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations>', "2: document"),
        ("</track>", "", "no valid xml"),
        ("<annotations>", "<html>", "2: <html> instead of <annotations>"),
        ("  <track", '  <image id="0"/>\n  <track', "14: <image>: 'CVAT for images'"),
        ('label="wave"', 'label="sing"', "27: the action 'sing' is not among --classes"),
        ('frame="2"', 'frame="-2"', "19: frame='-2': expected a whole number"),
        ('id="0"', 'id="a"', "19: id='a': expected a whole number"),
        ('xtl="1.5"', 'xtl="x"', "19: xtl='x': expected a number"),
        ('xtl="1.5"', 'xtl="nan"', "19: xtl='nan': expected a number"),
        ('xtl="1.5"', 'xtl="99"', "19: not a box"),
        ("<size>4</size>", "<size>999999999</size>", "size='999999999'"),
    ],
)
def test_errors_name_file_and_line(tmp_path, capsys, old, new, message):
    assert old in EXPORT
    assert run(tmp_path, EXPORT.replace(old, new, 1)) == 2
    error = capsys.readouterr().err
    assert "export.xml:" in error and message in error
    assert not (tmp_path / "my.csv").exists()


def test_other_files_are_refused(tmp_path, capsys):
    for content in (b"", b"\x00\x01", b"<annotations>"):
        assert run(tmp_path, content) == 2
        assert "no valid xml" in capsys.readouterr().err
