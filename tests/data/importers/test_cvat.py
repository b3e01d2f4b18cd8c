import pytest
from cvat_exports import BOX, export, run

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


def test_an_export_without_a_source_needs_the_name_of_its_video(tmp_path, capsys):
    text = EXPORT.replace("<source>gym.mp4</source>", "").replace("<size>4</size>", "")
    assert run(tmp_path, text, name="annotations.xml") == 2
    assert "annotations.xml: no <source>, as in the export of a job" in capsys.readouterr().err
    assert run(tmp_path, text, "--video", "hall", name="annotations.xml") == 0
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
        "gym,3,1.5,2,30,40,1,2",
        "gym,5,2.5,2,31,40,1,2",
        "gym,6",
        "gym,8",
        "gym,9",
    ]


def test_a_file_named_twice(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, EXPORT, others=[f"{tmp_path}/videos/../export.xml"])
    assert "error: a file occurs twice" in capsys.readouterr().err


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
        ('encoding="utf-8"', 'encoding="ut"', "1: encoding 'ut': save the file as utf-8"),
        ('encoding="utf-8"', 'encoding="shift_jis"', "1: encoding 'shift_jis': save"),
        ("<annotations>", "<html>", "2: <html> instead of <annotations>"),
        ("  <track", '  <image id="0"/>\n  <track', "14: <image>: 'CVAT for images'"),
        ('frame="2"', 'frame="-2"', "19: frame='-2': expected a whole number"),
        ('id="0"', 'id="a"', "14: id='a': expected a whole number"),
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


ACTION = '<attribute name="action">{}</attribute></box>'
DEFAULTS = export(
    f'<track id="0" label="person">{BOX.replace("/>", ">")}{ACTION.format("__undefined__")}'
    f"{BOX.replace('/>', '>').replace('0', '1', 1)}{ACTION.format('walk')}</track>",
    f'<track id="1" label="ball">{BOX}</track>',
)


def test_defaults_of_attributes_and_other_labels_are_counted(tmp_path, capsys):
    options = {"classes": ["walk"]}
    assert run(tmp_path, DEFAULTS, "--attribute", "action", **options) == 0
    rows = (tmp_path / "my.csv").read_text().splitlines()
    assert rows == ["gym,2,60,20,80,100,1,0", "gym,3", "gym,4"]
    output = capsys.readouterr().out
    assert "not among --classes, left out: __undefined__ (1 boxes)" in output
    assert "persons without an action are left out (2 boxes)" in output
    assert run(tmp_path, DEFAULTS, "--overwrite", classes=["person", "dog"]) == 0
    output = capsys.readouterr().out
    assert "not among --classes, left out: ball (1 boxes)" in output
    assert "no box has the action 'dog'" in output


def test_labels_are_ignored_on_request(tmp_path, capsys):
    command = ["import", [str(tmp_path / "export.xml"), "--videos", str(tmp_path), "--fps", "25"]]
    (tmp_path / "export.xml").write_text(DEFAULTS)
    command[1] += ["--output", str(tmp_path / "my.yaml"), "--attribute", "action"]
    assert run_command(*command) == 0
    assert read_custom_yaml(tmp_path / "my.yaml").classes == {1: "__undefined__", 2: "walk"}
    command[1] += ["--overwrite", "--ignore", "__undefined__", "nap"]
    assert run_command(*command) == 0
    assert read_custom_yaml(tmp_path / "my.yaml").classes == {1: "walk"}
    output = capsys.readouterr().out
    assert "format cvat, recognised by the element <annotations>" in output
    assert "left out: __undefined__" not in output
    assert "--ignore nap: no label has this name" in output


def test_tracks_without_ids_are_numbered(tmp_path):
    tracks = f'<track label="wave">{BOX}</track><track label="run">{BOX}</track>'
    assert run(tmp_path, export(tracks, size=1)) == 0
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,1,60,20,80,100,1,1",
        "gym,1,60,20,80,100,2,0",
    ]


def job(first, last):
    boxes = "".join(BOX.replace('"0"', f'"{k}"') for k in range(first, last + 1))
    return (
        f"<annotations><meta><job><size>{last - first + 1}</size><start_frame>{first}"
        f'</start_frame></job></meta><track id="0" label="wave">{boxes}</track></annotations>'
    )


def test_jobs_that_overlap_have_each_person_once(tmp_path, capsys):
    (tmp_path / "other.xml").write_text(job(4, 9))
    options = {"others": [tmp_path / "other.xml"], "classes": ["wave"]}
    assert run(tmp_path, job(0, 5), **options) == 2
    assert "no <source>" in capsys.readouterr().err
    assert run(tmp_path, job(0, 5), "--video", "gym", **options) == 0
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        f"gym,{number},60,20,80,100,1,0" for number in range(1, 11)
    ]
    assert "boxes that two files have: taken once (2)" in capsys.readouterr().out
    # As exports of two videos they have nothing in common.
    options["others"].append("--overwrite")
    assert run(tmp_path, job(0, 5), "--video", "gym", "--video", "hall", **options) == 0
    assert len((tmp_path / "my.csv").read_text().splitlines()) == 12


def test_a_wrong_format_is_named(tmp_path, capsys):
    path = tmp_path / "export.xml"
    path.write_text(EXPORT)
    options = ["--videos", str(tmp_path), "--output", str(tmp_path / "my.yaml")]
    with pytest.raises(SystemExit):
        run_command("import", ["cvt", str(path), *options])
    message = "error: cvt: no such file, and no format; formats are cvat, coco-video"
    assert message in capsys.readouterr().err


def test_a_wrong_folder_of_videos_is_named(tmp_path, capsys):
    path = tmp_path / "export.xml"
    path.write_text(EXPORT)
    options = ["--videos", str(tmp_path / "none"), "--output", str(tmp_path / "my.yaml")]
    assert run_command("import", [str(path), *options]) == 2
    message = "none has no video file of gym to tell the frame rate; mend --videos, or give --fps"
    assert message in capsys.readouterr().err


def test_files_of_two_formats_become_two_data_sets(tmp_path, capsys):
    (tmp_path / "export.xml").write_text(EXPORT)
    (tmp_path / "via.json").write_text('{"project": {"vid_list": []}}')
    files = [str(tmp_path / "export.xml"), str(tmp_path / "via.json")]
    options = ["--videos", str(tmp_path), "--output", str(tmp_path / "my.yaml")]
    assert run_command("import", [*files, *options]) == 2
    error = capsys.readouterr().err
    assert "via.json is via3, " in error and "list the yamls in DATASETS.TRAIN" in error
    assert not (tmp_path / "my.yaml").exists()


def test_points_of_a_skeleton_are_no_actions(tmp_path):
    labels = "<name>wave</name>", "<name>run</name>", "<name>1</name><parent>run</parent>"
    labels = "".join(f"<label>{label}</label>" for label in labels)
    text = export(f'<track id="0" label="run">{BOX}</track>')
    (tmp_path / "export.xml").write_text(text.replace("<task>", f"<task><labels>{labels}</labels>"))
    command = [str(tmp_path / "export.xml"), "--videos", str(tmp_path), "--fps", "25"]
    assert run_command("import", [*command, "--output", str(tmp_path / "my.yaml")]) == 0
    assert read_custom_yaml(tmp_path / "my.yaml").classes == {1: "wave", 2: "run"}
