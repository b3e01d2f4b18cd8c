import importlib.util
from pathlib import Path

import pytest

from tubedet.data.own_data import load_tubes
from tubedet.data.own_data_yaml import read_own_data_yaml

_SCRIPT = Path(__file__).parents[2] / "datasets/import_cvat.py"
_spec = importlib.util.spec_from_file_location("import_cvat", _SCRIPT)
importer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(importer)

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


def run(tmp_path, text, *options, classes=("run", "wave"), name="export.xml"):
    (tmp_path / "videos").mkdir(exist_ok=True)
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = [str(path), "--videos", str(tmp_path / "videos"), "--fps", "25", *options]
    return importer.main([*arguments, "--output", str(tmp_path / "my.yaml"), "--classes", *classes])


def test_labels_of_tracks_are_actions(tmp_path):
    assert run(tmp_path, EXPORT) == 0
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,3,1.5,2,30,40,1,0",
        "gym,5,2.5,2,31,40,1,0",
        "gym,5,0,0,9,9,2,3",
        "gym,7",
        "gym,9",
    ]
    own = read_own_data_yaml(tmp_path / "my.yaml")
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
    assert run(tmp_path, EXPORT.replace(old, new, 1)) == 1
    error = capsys.readouterr().err
    assert "export.xml:" in error and message in error
    assert not (tmp_path / "my.csv").exists()


def test_other_files_are_refused(tmp_path, capsys):
    for content in (b"", b"\x00\x01", b"<annotations>"):
        assert run(tmp_path, content) == 1
        assert "no valid xml" in capsys.readouterr().err
