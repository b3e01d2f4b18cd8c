from tubedet.data.video.media_paths import missing_media, video_paths


def test_frame_folders_go_before_files_and_ids_may_have_folders(tmp_path):
    for name in ("frames/run/a", "videos/run", "videos/jump"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("run/a.avi", "run/b.avi", "jump/c.webm", "d.mkv"):
        (tmp_path / "videos" / name).touch()
    frames, videos = str(tmp_path / "frames"), str(tmp_path / "videos")
    found = video_paths(
        ["run/a", "run/b", "jump/c", "d", "run/gone"], frames_dir=frames, videos_dir=videos
    )
    assert found == {
        "run/a": f"{frames}/run/a",
        "run/b": f"{videos}/run/b.avi",
        "jump/c": f"{videos}/jump/c.webm",
        "d": f"{videos}/d.mkv",
        "run/gone": f"{videos}/run/gone.mp4",
    }


def test_one_folder_may_hold_both_kinds(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b.mp4").touch()
    found = video_paths(["a", "b"], frames_dir=str(tmp_path), videos_dir=str(tmp_path))
    assert found == {"a": str(tmp_path / "a"), "b": str(tmp_path / "b.mp4")}


def test_missing_video_is_expected_where_the_folders_are(tmp_path):
    frames, videos = str(tmp_path / "frames"), str(tmp_path / "videos")
    assert video_paths(["a"], frames_dir=frames, videos_dir=videos) == {"a": f"{videos}/a.mp4"}
    (tmp_path / "frames").mkdir()
    assert video_paths(["a"], frames_dir=frames, videos_dir=videos) == {"a": f"{frames}/a"}


def test_endings_in_capitals_and_of_cameras(tmp_path):
    for name in ("a.AVI", "b.MOV", "c.m4v", "d.mpg", "e.MP4", "e.mp4", "f.txt"):
        (tmp_path / name).touch()
    found = video_paths("abcdef", frames_dir=str(tmp_path), videos_dir=str(tmp_path))
    names = {video_id: path.removeprefix(f"{tmp_path}/") for video_id, path in found.items()}
    assert names == {
        "a": "a.AVI",
        "b": "b.MOV",
        "c": "c.m4v",
        "d": "d.mpg",
        "e": "e.mp4",
        "f": "f.mp4",
    }


def test_what_was_looked_for():
    assert missing_media("films/a.mp4") == (
        "there is no video films/a with one of the endings .mp4, .mkv, .webm, .avi, .mov, .m4v, "
        ".mpg and no folder of that name with frames"
    )
    assert missing_media("frames/a") == (
        "there is no such folder with frames (.jpg, .jpeg, .png): frames/a"
    )


def test_a_nul_in_an_id_is_no_video():
    assert video_paths(["x\0/a"], frames_dir="no", videos_dir="no") == {"x\0/a": "no/x\0/a.mp4"}
