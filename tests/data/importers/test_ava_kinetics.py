import pytest

from tubedet.cli.running import run_command
from tubedet.data import AnnotationError
from tubedet.data.datasets.custom import load_key_frames
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.ava_kinetics import read_ava_kinetics
from tubedet.data.importers.labels import ImportOptions

ROWS = """\
00_77WAvZ_o,17.000000,0.308489,0.465223,0.530244,0.991838,12
00_77WAvZ_o,17.000000,0.308489,0.465223,0.530244,0.991838,17
00g-inkLork,5.016949
gone,13.006000,0.749952,0.423815,0.920923,0.811091,12
gone,13.006000,0.749952,0.423815,0.920923,0.811091,17
00_77WAvZ_o,40.000000,0.308489,0.465223,0.530244,0.991838,12
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips/jog").mkdir(parents=True)
    (tmp_path / "clips/walk").mkdir(parents=True)
    for name in ("jog/00_77WAvZ_o_000012_000022.mp4", "walk/00_77WAvZ_o_000015_000025.MP4"):
        (tmp_path / "clips" / name).touch()
    (tmp_path / "clips/walk/00g-inkLork_000000_000010").mkdir()  # of frames
    (tmp_path / "kinetics_val_v1.0.csv").write_text(ROWS)
    (tmp_path / "label_map.txt").write_text("12: stand\n17: carry/hold\n")
    return tmp_path


def read(folder, text=ROWS, **options):
    path = folder / "kinetics_val_v1.0.csv"
    path.write_text(text)
    return read_ava_kinetics(path, ImportOptions(videos=folder / "clips", **options))


def test_rows_belong_to_the_clip_with_their_second(folder):
    labels = read(folder)
    clip, empty = "jog/00_77WAvZ_o_000012_000022", "walk/00g-inkLork_000000_000010"
    assert [(*box.moment, box.actions, box.person_id) for box in labels.boxes] == [
        (clip, 17, ("stand", "carry/hold"), None)
    ]
    assert labels.empty == {(empty, 5.016949)}
    assert labels.start_seconds == {clip: 12, empty: 0}
    assert labels.remarks == {
        f"moments of videos that are not in {folder / 'clips'}: left out": 1,
        "moments outside of the stored clips: left out": 1,
    }
    # Second 19 is nearer to the middle of the other clip.
    labels = read(folder, ROWS.replace("17.000000", "19.000000"))
    assert labels.start_seconds == {"walk/00_77WAvZ_o_000015_000025": 15, empty: 0}


def test_rows_that_name_the_clip(folder):
    row = "/somewhere/else/00_77WAvZ_o_000015_000025.mp4,17,0.3,0.4,0.5,0.6,12,-1\n"
    labels = read(folder, row)
    assert labels.start_seconds == {"walk/00_77WAvZ_o_000015_000025": 15}
    assert labels.boxes[0].person_id is None


def test_written_and_loaded(folder, capsys):
    arguments = [str(folder / "kinetics_val_v1.0.csv"), "--videos", str(folder / "clips")]
    arguments += ["--fps", "25", "--output", str(folder / "my.yaml")]
    (folder / "clips/jog/00_77WAvZ_o_000012_000022.mp4").unlink()  # --fps makes reading it needless
    (folder / "clips/jog/00_77WAvZ_o_000012_000022").mkdir()
    (folder / "clips/walk/00_77WAvZ_o_000015_000025.MP4").unlink()
    assert run_command("import", arguments) == 0
    printed = capsys.readouterr().out
    assert "format ava-kinetics, recognised by the name kinetics_val_v1.0.csv and its 7" in printed
    assert (folder / "my_starts.csv").read_text() == (
        "jog/00_77WAvZ_o_000012_000022,12\nwalk/00g-inkLork_000000_000010,0\n"
    )
    own = read_custom_yaml(folder / "my.yaml")
    assert own.start_second == {
        "jog/00_77WAvZ_o_000012_000022": 12.0,
        "walk/00g-inkLork_000000_000010": 0.0,
    }
    dicts = load_key_frames(own)
    assert [(d["timestamp"], d["start_second"], len(d["annotations"])) for d in dicts] == [
        (17.0, 12.0, 1),
        (5.016949, 0.0, 0),
    ]
    assert dicts[0]["video"] == str(folder / "clips/jog/00_77WAvZ_o_000012_000022")
    assert run_command("validate", ["--dataset", str(folder / "my.yaml")]) == 0


def test_a_clip_without_seconds_in_its_name(folder):
    (folder / "clips/whole.mp4").touch()
    row = "whole,17,0.3,0.4,0.5,0.6,12\n"
    with pytest.raises(AnnotationError, match=r"v1\.0\.csv: the video 'whole' does not say at whi"):
        read(folder, row)
    labels = read(folder, row, start_second=0.0)
    assert labels.boxes[0].moment == ("whole", 17) and labels.start_seconds == {"whole": 0}
    labels = read(folder, row, start_second=20.0)
    assert labels.remarks == {"moments outside of the stored clips: left out": 1}
