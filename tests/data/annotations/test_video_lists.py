import pytest

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.annotations.video_lists import (
    VideoInfo,
    read_file_names,
    read_seconds,
    read_video_infos,
    write_video_infos,
)

HEADER = "video_id,height,width,fps,start_second,num_frames\n"


@pytest.fixture
def file(tmp_path):
    """Function which writes a file and returns its path."""

    def write(text):
        path = tmp_path / "list"
        path.write_text(text)
        return path

    return write


def test_lists_skip_empty_lines(file):
    assert read_seconds(file("0902\n\n 903 \n")) == [902.0, 903.0]
    names = read_file_names(file("-a.b.mkv\n\nc d.mp4\n"))
    assert names == {"-a.b": "-a.b.mkv", "c d": "c d.mp4"}


def test_every_bad_second_is_told(file):
    path, errors = file("0902\nnine\n903\n9.5\n"), []
    assert read_seconds(path, on_error=errors.append) == [902.0, 903.0]
    assert [str(error).split(": ")[0] for error in errors] == [f"{path}:2", f"{path}:4"]
    with pytest.raises(AnnotationError, match="list:2: 'nine' in the list of seconds"):
        read_seconds(path)


def test_video_infos_survive_writing(tmp_path):
    infos = {
        "b,1": VideoInfo(360, 640, 30000 / 1001, 900.0, 27000),
        "a": VideoInfo(96, 128, 24.0, 0.5, None),
    }
    write_video_infos(tmp_path / "infos.csv", infos)
    read = read_video_infos(tmp_path / "infos.csv")
    assert list(read) == ["a", "b,1"]
    assert read["a"] == infos["a"]
    assert read["b,1"].fps == pytest.approx(30000 / 1001, rel=1e-11)
    assert (tmp_path / "infos.csv").read_text().splitlines()[1] == "a,96,128,24,0.5,"


def test_columns_may_come_in_any_order_and_without_num_frames(file):
    path = file("fps,video_id,start_second,width,height\n25,v,0,640,360\n")
    assert read_video_infos(path) == {"v": VideoInfo(360, 640, 25.0, 0.0)}


@pytest.mark.parametrize(
    "row, message",
    [
        ("v,360,640,25\n", "4 columns, the first line has 6"),
        ("v,0,640,25,0,9\n", "'0' in column height: expected a positive number"),
        ("v,360,640,nan,0,9\n", "'nan' in column fps: expected a finite number"),
        ("v,360,640,-1,0,9\n", "'-1' in column fps"),
        ("v,360,640,25,,9\n", "'' in column start_second"),
        ("v,360,640,25,0,many\n", "'many' in column num_frames"),
    ],
)
def test_bad_video_infos_are_named(file, row, message):
    path, errors = file(HEADER + "\n" + row + "w,1,2,3,4,5\n"), []
    assert list(read_video_infos(path, on_error=errors.append)) == ["w"]
    assert str(errors[0]).startswith(f"{path}:3: ") and message in str(errors[0])
    with pytest.raises(AnnotationError, match="list:3: "):
        read_video_infos(path)
    with pytest.raises(AnnotationError, match="list:1: no column fps, height"):
        read_video_infos(file(""))
