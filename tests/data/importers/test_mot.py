import pytest

from tubedet.cli.running import run_command
from tubedet.data import AnnotationError
from tubedet.data.datasets.custom import load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.labels import ImportOptions
from tubedet.data.importers.mot import read_mot

CVAT = """\
# frame_id, track_id, x, y, w, h, "not ignored", class_id, visibility
1,1,100,150,50,120,1,1,1.0
2,1,110,152,50,120,1,1,1.0
3,1,120,154,50,120,1,1,0.8
1,2,500,200,150,100,1,2,1.0
2,2,480,200,150,100,1,2,1.0
"""
SEQINFO = """\
[Sequence]
name=MOT17-02
imDir=img1
frameRate=30
seqLength=5
imWidth=640
imHeight=480
imExt=.jpg
"""
ACTIONS = "person,first,last,action\n1,1,2,walk\n1,2,3,wave\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "seq/gt").mkdir(parents=True)
    (tmp_path / "seq/gt/gt.txt").write_text(CVAT)
    return tmp_path


def read(folder, *, text=None, actions=None, video="street", **options):
    path = folder / "seq/gt/gt.txt"
    if text is not None:
        path.write_text(text)
    if actions is not None:
        options["actions"] = folder / "actions.csv"
        options["actions"].write_text(actions)
    return read_mot(path, ImportOptions(videos=folder / "videos", video=video, **options))


def test_fault_mot_with_nine_columns_is_imported(folder, capsys):
    (folder / "seq/gt/labels.txt").write_text("walk\ndrive")
    arguments = [str(folder / "seq/gt/gt.txt"), "--videos", str(folder / "videos"), "--fps", "25"]
    arguments += ["--output", str(folder / "out/my.yaml")]
    assert run_command("import", arguments) == 2
    assert "no video 'seq' in" in (error := capsys.readouterr().err) and "--video NAME" in error
    assert run_command("import", [*arguments, "--video", "street"]) == 0
    printed = capsys.readouterr().out
    assert "format mot, recognised by its 9 columns of numbers" in printed
    assert "5 boxes in 1 videos, 2 actions: walk, drive" in printed
    assert (folder / "out/my.csv").read_text() == (
        "street,1,100,150,150,270,1,1\nstreet,1,500,200,650,300,2,2\n"
        "street,2,110,152,160,272,1,1\nstreet,2,480,200,630,300,2,2\n"
        "street,3,120,154,170,274,1,1\n"
    )
    tubes = load_tubes(read_custom_yaml(folder / "out/my.yaml"))["street"].tubes
    assert [(t.label, t.person_id, t.frames.tolist()) for t in tubes] == [
        (0, 1, [1, 2, 3]),
        (1, 2, [1, 2]),
    ]


def test_actions_by_track_and_time(folder):
    labels = read(folder, actions=ACTIONS)
    assert [(box.time, box.person_id, box.actions) for box in labels.boxes] == [
        (1, 1, ("walk",)),
        (2, 1, ("walk", "wave")),
        (3, 1, ("wave",)),
        (1, 2, ()),
        (2, 2, ()),
    ]
    assert labels.class_names == [] and not labels.empty and not labels.remarks


def test_a_sequence_of_motchallenge(folder):
    (folder / "seq/seqinfo.ini").write_text(SEQINFO)
    text = "1,1,-5,10,20,30,1,1,0.5\n2,1,1,1,9,9,0,7,1\n3,4,1,1,0,9,1,1,1\n"
    labels = read(folder, text=text, video=None, actions="1,1,1,walk\n")
    (box,) = labels.boxes
    assert (box.video_id, box.box) == ("MOT17-02", (-5, 10, 15, 40))
    # Frames 2 and 3 hold something that is no box of a person.
    assert labels.empty == {("MOT17-02", 4), ("MOT17-02", 5)}
    assert labels.sizes == {"MOT17-02": (640, 480)}
    assert labels.remarks == {
        "rows with the flag 0 (not to be considered): left out": 1,
        "boxes without an area: left out, with their frames": 1,
    }
    # As MOTChallenge stores its frames.
    (folder / "videos/MOT17-02/img1").mkdir(parents=True)
    labels = read(folder, text=text, video=None, actions="1,1,1,walk\n")
    assert labels.boxes[0].video_id == "MOT17-02/img1"


@pytest.mark.parametrize("stored", ["seq.mp4", "seq", "seq/img1"])
def test_the_folder_names_the_video_if_that_is_stored(folder, stored):
    if "." in stored:
        (folder / "videos" / stored).touch()
    else:
        (folder / "videos" / stored).mkdir(parents=True)
    labels = read(folder, video=None, actions=ACTIONS)
    assert {box.video_id for box in labels.boxes} == {stored.removesuffix(".mp4")}


def test_results_of_a_tracker_have_ten_columns_and_scores(folder):
    text = "frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z\n"
    text += "0, 3, 1, 2, 10, 20, 0.9, -1, -1, -1\n\n1,3,1,2,10,20,0.8,-1,-1,-1\n"
    labels = read(folder, text=text, first_frame=0, actions="3,0,0,run\n")
    assert [(box.time, box.actions) for box in labels.boxes] == [(1, ("run",)), (2, ())]
    assert labels.remarks == {
        "lines of column names: passed over": 1,
        "scores in column 7: not looked at": 2,
    }


def test_boxes_outside_of_tracks_are_persons_of_one_frame(folder):
    text = CVAT + "4,-1,0,0,5,5,1,1,1\n5,-1,0,0,5,5,1,1,1\n"
    (folder / "names.txt").write_text("1: walk\n2: drive\n")
    labels = read(folder, text=text, label_map=folder / "names.txt")
    assert [(box.time, box.person_id) for box in labels.boxes[-2:]] == [(4, 3), (5, 4)]
    assert labels.remarks == {"boxes outside of a track (id -1): a person for each": 2}


def test_a_row_of_actions_without_a_box_is_counted(folder):
    labels = read(folder, actions=ACTIONS + "2,3,9,run\n")
    assert labels.remarks == {f"rows of {folder / 'actions.csv'} without a box at their time": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            r"gt\.txt: what do the persons do\? .*--actions FILE; or, .*labels\.txt or --label-map",
        ),
        ({"text": ""}, r"gt\.txt: no rows"),
        ({"text": "1,1,2,3\n"}, r"gt\.txt:1: 4 columns, expected 7 to 10"),
        ({"text": CVAT + "1,2,a,3,4,5,1\n"}, r"gt\.txt:7: 'a' in column 3: expected a number"),
        ({"text": "0,1,2,3,4,5,1\n"}, r"gt\.txt:1: the frame 0, .*, say --first-frame 0"),
        ({"text": "1.5,1,2,3,4,5,1\n"}, r"gt\.txt:1: expected whole numbers of a frame and a"),
        ({"text": "1,1,2,3,-4,5,1\n"}, r"gt\.txt:1: the width or height is below 0"),
        ({"text": "1,-1,2,3,4,5,1,-1,-1,-1\n"}, r"gt\.txt:1: the id -1, .*: these are detections"),
        (
            {"text": CVAT + "2,1,0,0,9,9,1,1,1\n"},
            r"gt\.txt:7: the id 1 has a box in this frame already, in line 3",
        ),
        ({"actions": "1,2,walk\n"}, r"actions\.csv:1: expected person,first frame,last frame,act"),
        ({"actions": "1,2,1,walk\n"}, r"actions\.csv:1: from frame 2 to 1: expected first and l"),
        ({"actions": ACTIONS + "a,2,3,walk\n"}, r"actions\.csv:4: 'a' in person: expected a whole"),
        ({"actions": "\n7,2,3,walk\n"}, r"actions\.csv:2: .*gt\.txt has no person 7"),
        ({"actions": "a,b,c,d\n"}, r"actions\.csv: no rows of person,first frame"),
    ],
)
def test_errors_name_the_line(folder, options, message):
    with pytest.raises(AnnotationError, match=message):
        read(folder, **options)


def test_classes_need_names(folder):
    (folder / "names.txt").write_text("1: walk\n")
    with pytest.raises(AnnotationError, match=r"gt\.txt:5: the class 2, which has no name; there"):
        read(folder, label_map=folder / "names.txt")
    with pytest.raises(AnnotationError, match=r"gt\.txt:1: no class; give the actions, --actions"):
        read(folder, text="1,1,2,3,4,5,1,-1,-1,-1\n", label_map=folder / "names.txt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seqLength=5", "seqLength=2", r"gt\.txt:4: the frame 3, but .*seqinfo\.ini has 2 frames"),
        ("seqLength=5", "seqLength=0", r"seqinfo\.ini: seqLength=0, expected 1 to 1000000"),
        ("seqLength=5", "", r"seqinfo\.ini: '' in seqLength: expected a whole number"),
        ("name=MOT17-02", "", r"seqinfo\.ini: name='' or imDir='img1' is no name"),
        ("[Sequence]", "", r"seqinfo\.ini: File contains no section headers"),
        ("[Sequence]", "[Other]", r"seqinfo\.ini: no section \[Sequence\]"),
    ],
)
def test_damaged_seqinfo(folder, old, new, message):
    (folder / "seq/seqinfo.ini").write_text(SEQINFO.replace(old, new))
    with pytest.raises(AnnotationError, match=message):
        read(folder, actions=ACTIONS)


def test_one_file_of_actions_for_each_file(folder, capsys):
    arguments = [str(folder / "seq/gt/gt.txt"), str(folder / "b.txt"), "--videos", str(folder)]
    arguments += ["--output", str(folder / "my.yaml"), "--actions", str(folder / "a.csv")]
    with pytest.raises(SystemExit):
        run_command("import", arguments)
    assert "--actions: 1 files of actions for 2 files" in capsys.readouterr().err
