"""The rows of a custom data set."""

import pytest

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.datasets.custom_rows import (
    first_line_of_videos,
    read_checked_table,
    read_excluded,
    read_table,
    row_faults,
)
from tubedet.data.datasets.custom_yaml import CustomDataset

BOX = "0.1,0.2,0.5,0.9"


@pytest.fixture
def custom(tmp_path):
    """Function which writes the csv of a data set with videos/gym.avi and videos/a/b.mp4."""
    for name in ("gym.avi", "a/b.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()

    def write(csv, excluded="", **options):
        (tmp_path / "rows.csv").write_text(csv)
        (tmp_path / "excluded.csv").write_text(excluded)
        return CustomDataset(
            str(tmp_path / "my.yaml"),
            str(tmp_path / "videos"),
            str(tmp_path / "rows.csv"),
            fps=25.0,
            excluded=str(tmp_path / "excluded.csv"),
            **{"classes": {1: "walk", 3: "run", 4: "sit"}, **options},
        )

    return write


def test_blank_lines_and_spaces_around_ids_do_not_count(custom):
    csv = f" gym ,1,{BOX},1\n\n,,,,,,,\ngym,2,{BOX},3\na/b,1,{BOX},1\ngym ,3\n"
    data = custom(csv, excluded="gym , 3\n\n")
    table = read_checked_table(data)
    assert table.videos == ("gym", "a/b") and table.video_ids.tolist() == ["gym", "gym", "a/b"]
    assert table.lines.tolist() == [1, 4, 5] and table.empty_key_frames == (("gym", 3.0),)
    assert first_line_of_videos(table) == {"gym": 1, "a/b": 5}
    assert read_excluded(data) == {("gym", 3.0)}


@pytest.mark.parametrize(
    "video_id, wanted",
    [
        ("gym.avi", "gym"),  # fault import-ext-in-csv
        ("gym.MP4", "gym"),
        ("a/b.mp4", "a/b"),
        ("class/gone.mkv", "class/gone"),
        ("./gym", "gym"),
        ("videos/gym.avi", "gym"),
        ("../videos/gym", "gym"),
        ("a\\b", "a/b"),
        ("C:\\films\\gym.avi", "gym"),
        ("/elsewhere/gym.avi", "gym"),
        ("{videos}/a/b.mp4", "a/b"),
    ],
)
def test_ids_that_are_no_path_within_the_folder(custom, tmp_path, video_id, wanted):
    video_id = video_id.format(videos=tmp_path / "videos")
    data = custom(f"gym,1,{BOX},1\n{video_id},1,{BOX},1\n")
    with pytest.raises(AnnotationError, match=r"rows\.csv:2: ") as caught:
        read_checked_table(data)
    assert f"video {video_id!r}: write {wanted!r}, the path within" in str(caught.value)


def test_ids_that_end_like_a_file_name_are_kept_if_they_are_right(custom, tmp_path):
    (tmp_path / "videos/take.avi.mp4").touch()
    (tmp_path / "videos/gym.2020.mp4").touch()
    data = custom(f"take.avi,1,{BOX},1\ngym.2020,1,{BOX},1\na/b,1,{BOX},1\ngone,1,{BOX},1\n")
    assert read_checked_table(data).videos == ("take.avi", "gym.2020", "a/b", "gone")
    (fault,) = row_faults(custom(f",1,{BOX},1\n"), read_table(custom(f",1,{BOX},1\n")))
    assert fault.message == "the video id is empty"


def test_unknown_actions_are_told_with_the_known_ones(custom):
    data = custom(f"gym,1,{BOX},2,9\ngym,2,{BOX},1,1\n")
    (fault,) = row_faults(data, read_table(data))
    assert (fault.kind, fault.line) == ("class", 1)
    assert fault.message == "action id 2: 'classes' have the ids 1, 3 to 4"
    data = custom(f"gym,1,{BOX},1,1\n", classes=dict.fromkeys(range(1, 40, 2), "x") | {1: "y"})
    assert list(row_faults(data, read_table(data))) == []


def test_scores_are_no_person_ids(custom):
    for last, right in (("0.93", False), ("1e300", False), ("7", True), ("-1", True)):
        data = custom(f"gym,1,{BOX},1,{last}\ngym,2,{BOX},1\n")
        kinds = [fault.kind for fault in row_faults(data, read_table(data))]
        assert kinds == ([] if right else ["person"])
