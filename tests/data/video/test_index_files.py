import json

import numpy as np
import pytest

from tubedet.data.video.index_files import index_file_path, load_index_file, save_index_file

STATUS = {"size": 1000, "mtime_ns": 5}
CONTENT = {"pts": np.array([48600, 52200, 70000]), "is_counted": True, "end": "damaged"}


@pytest.fixture
def video(tmp_path):
    path = str(tmp_path / "gym.mp4")
    save_index_file(path, CONTENT, **STATUS)
    return path


def test_what_was_saved_is_loaded(video, tmp_path):
    loaded = load_index_file(video, **STATUS)
    assert loaded["pts"].tolist() == [48600, 52200, 70000] and loaded["pts"].dtype == np.int64
    assert loaded["is_counted"] is True and loaded["end"] == "damaged"
    assert [path.name for path in tmp_path.iterdir()] == [".gym.mp4.frames.json"]


def test_another_size_time_or_reader_makes_it_invalid(video, monkeypatch):
    assert load_index_file(video, size=1001, mtime_ns=5) is None
    assert load_index_file(video, size=1000, mtime_ns=6) is None
    monkeypatch.setattr("av.library_versions", {"libavformat": (99, 0, 0)})
    assert load_index_file(video, **STATUS) is None


@pytest.mark.parametrize(
    "key, value",
    [
        ("steps", [3600, 17801]),
        ("steps", [3600, -17800]),
        ("steps", [3600]),
        ("steps", [[3600, 17800]]),
        ("steps", "3600"),
        ("first", 48601),
        ("first", None),
        ("first", 10**30),
        ("is_counted", "no"),
        ("end", 3),
        ("video", {}),
    ],
)
def test_damaged_numbers_are_as_good_as_none(video, key, value):
    path = index_file_path(video)
    with open(path) as stream:
        content = json.load(stream)
    with open(path, "w") as stream:
        json.dump({**content, key: value}, stream)
    assert load_index_file(video, **STATUS) is None


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, '{"video": ', "\udcff"])
def test_damaged_files_are_as_good_as_none(video, text):
    with open(index_file_path(video), "w", errors="surrogateescape") as stream:
        stream.write(text)
    assert load_index_file(video, **STATUS) is None


def test_too_large_a_file_is_not_read(video):
    with open(index_file_path(video), "a") as stream:
        stream.truncate(65 << 20)
    assert load_index_file(video, **STATUS) is None


def test_saving_where_nothing_can_be_written_is_no_error(tmp_path):
    video = str(tmp_path / "none" / "gym.mp4")
    save_index_file(video, CONTENT, **STATUS)
    assert load_index_file(video, **STATUS) is None
