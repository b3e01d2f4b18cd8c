"""The steps from the public lists of AVA to a data set."""

import http.server
import json
import re
import shutil
import socket
import stat
import sys
import threading
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numbered_videos import read_numbers, write_video

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "datasets"))

import prepare_ava
from ava_preparation import downloading
from ava_preparation.batch import PreparationError, sole_user

from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.datasets.ava import load_ava
from tubedet.data.datasets.builtin import ava_files
from tubedet.data.validation.annotation_checks import check_ava
from tubedet.data.video.reader import open_video

NEEDS_FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
VIDEOS = {"train": ("-fast film", "a.mkv", 30), "val": ("%slow film", "b.mp4", 24)}
SECTION = ["--start", "1", "--length", "4"]


def official_files(version="v2.2"):
    """Content of the published lists by name, for two videos."""
    files = {f"ava_included_timestamps_{version}.txt": "0002\n0003\n0004\n"}
    names = ""
    for split, (video_id, file_name, _) in VIDEOS.items():
        files[f"ava_{split}_{version}.csv"] = "".join(
            f"{video_id},{second:04d},0.1,0.2,0.5,0.9,{action},0\n"
            for second in (2, 4)
            for action in (12, 79)
        )
        files[f"ava_{split}_excluded_timestamps_{version}.csv"] = f"{video_id},0003\n"
        names += video_id + Path(file_name).suffix + "\n"
    return {**files, "ava_file_names_trainval_v2.1.txt": names}


@pytest.fixture
def mirror(tmp_path):
    """Folder with what the mirror serves: a zip of the lists, the list of videos and the films."""
    folder = tmp_path / "mirror of mine"
    (folder / "annotations").mkdir(parents=True)
    (folder / "trainval").mkdir()
    files = official_files()
    name = "ava_file_names_trainval_v2.1.txt"
    (folder / "annotations" / name).write_text(files.pop(name))
    with zipfile.ZipFile(folder / "annotations/ava_v2.2.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"annotations/{name}", text)
    for video_id, file_name, rate in VIDEOS.values():
        path = folder / "trainval" / (video_id + Path(file_name).suffix)
        write_video(path, 6 * rate, rate=rate, b_frames=2, size=(96, 128))
    return folder


def run(step, root, *options):
    return prepare_ava.main([step, "--root", str(root), *map(str, options)])


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_lists_are_placed_where_the_registered_data_sets_look(mirror, tmp_path, capsys):
    root = tmp_path / "ava"
    assert run("annotations", root, "--mirror", mirror) == 0
    before = contents(root)
    for split, (video_id, _, _) in VIDEOS.items():
        files = ava_files(str(root), split=split, version="v2.2")
        assert Path(files.action_list).parent == root / "annotations"
        records = load_ava(files)
        assert [(r["video_id"], r["timestamp"]) for r in records] == [(video_id, 2), (video_id, 4)]
        assert records[0]["annotations"][0]["actions"] == [11, 78]
        assert check_ava("val", files).problems == []
    assert run("annotations", root, "--mirror", mirror) == 0
    assert contents(root) == before


def test_lists_from_a_folder_and_files_and_what_is_missing(mirror, tmp_path, capsys):
    lists = tmp_path / "lists"
    lists.mkdir()
    for name, text in official_files("v2.1").items():
        (lists / name).write_text(text)
    own_list = lists / "ava_file_names_trainval_v2.1.txt"
    elsewhere = own_list.rename(tmp_path / own_list.name)
    root = tmp_path / "ava"
    options = ["--version", "v2.1", "--source", lists]
    assert run("annotations", root, *options) == 2
    assert f"{own_list.name}: in none of {lists}" in capsys.readouterr().err
    assert not root.exists()
    assert run("annotations", root, *options, elsewhere) == 0
    changed = root / "annotations/ava_val_v2.1.csv"
    changed.write_text("mine")
    assert run("annotations", root, *options, elsewhere) == 2
    assert f"{changed}: another version" in capsys.readouterr().err
    assert changed.read_text() == "mine"
    assert run("annotations", tmp_path / "new", "--source", tmp_path / "nothing") == 2
    assert "nothing: neither a folder nor a file" in capsys.readouterr().err
    elsewhere.write_text("other.mkv\n")
    assert run("annotations", tmp_path / "new", *options, elsewhere) == 2
    assert "1 videos are not in" in capsys.readouterr().err


def test_steps_name_the_step_before(tmp_path, capsys):
    assert run("download", tmp_path / "ava") == 2
    assert "run the step annotations first" in capsys.readouterr().err


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``content``; breaks off after ``limit`` bytes; ``ranges`` notes what was asked for."""

    def do_GET(self):  # noqa: N802 (name of the base class)
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if self.path != "/film.mkv":
            self.send_error(404)
            return
        begin = 0
        if asked and server.resumes:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        if begin >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        body = server.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.content = np.random.default_rng(0).bytes(300_000)
        server.resumes, server.limit, server.ranges = True, 120_000, []
        server.url = f"http://127.0.0.1:{server.server_port}/film.mkv"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    path = tmp_path / "film.mkv"
    downloading.fetch(server.url, path, pause=0)
    assert path.read_bytes() == server.content
    assert server.ranges == [None, "bytes=120000-", "bytes=240000-"]
    downloading.fetch(server.url, path)
    assert len(server.ranges) == 3  # it was there
    assert [p.name for p in tmp_path.iterdir()] == ["film.mkv"]


def test_a_download_goes_on_in_the_next_run(server, tmp_path):
    path = tmp_path / "film.mkv"
    with pytest.raises(PreparationError, match="120000 of 300000 bytes .* run the step again"):
        downloading.fetch(server.url, path, attempts=1)
    assert not path.exists()
    server.limit = None
    downloading.fetch(server.url, path, attempts=1)
    assert path.read_bytes() == server.content
    assert server.ranges == [None, "bytes=120000-"]


def test_a_server_without_ranges_sends_the_file_anew(server, tmp_path):
    path = tmp_path / "film.mkv"
    with pytest.raises(PreparationError):
        downloading.fetch(server.url, path, attempts=1)
    server.resumes, server.limit = False, None
    downloading.fetch(server.url, path, attempts=1)
    assert path.read_bytes() == server.content


@pytest.mark.parametrize("extra", [0, 10])
def test_a_complete_or_too_long_rest_of_an_earlier_download(server, tmp_path, extra):
    path, part = tmp_path / "film.mkv", tmp_path / ".film.mkv.part"
    part.write_bytes(server.content + b"x" * extra)
    server.limit = None
    downloading.fetch(server.url, path, attempts=1)
    assert path.read_bytes() == server.content


def test_failed_downloads_are_told(server, tmp_path):
    with pytest.raises(PreparationError, match="absent: the server answers 404"):
        downloading.fetch(server.url.replace("film.mkv", "absent"), tmp_path / "film")
    assert len(server.ranges) == 1  # not tried again
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/film"
        with pytest.raises(PreparationError, match=r"refused \(tries: 2"):
            downloading.fetch(url, tmp_path / "film", attempts=2, pause=0)


def test_films_come_from_the_own_mirror(mirror, tmp_path, capsys):
    root = tmp_path / "ava"
    run("annotations", root, "--mirror", mirror)
    (mirror / "trainval/%slow film.mp4").rename(tmp_path / "late.mp4")
    assert run("download", root, "--mirror", mirror, "--splits", "train") == 0
    assert run("download", root, "--mirror", mirror.as_uri()) == 1
    output = capsys.readouterr()
    assert "%slow film: " in output.err and "download: 1 of 2 videos" in output.out
    (tmp_path / "late.mp4").rename(mirror / "trainval/%slow film.mp4")
    assert run("download", root, "--mirror", mirror) == 0
    assert contents(root / "originals") == contents(mirror / "trainval")


@pytest.fixture
def downloaded(mirror, tmp_path):
    root = tmp_path / "data sets: 100%/ava"
    assert run("annotations", root, "--mirror", mirror) == 0
    assert run("download", root, "--mirror", mirror) == 0
    return root


@NEEDS_FFMPEG
def test_frames_and_small_videos_give_the_same_clips(downloaded, mirror, capsys):
    root = downloaded
    assert run("frames", root, *SECTION) == 1
    assert "run the step trim" in capsys.readouterr().err
    for step in ("trim", "frames"):
        assert run(step, root, *SECTION, "--jobs", 2) == 0
    assert run("videos", root, *SECTION, "--short-side", 64) == 0
    assert contents(root / "originals") == contents(mirror / "trainval")
    shown = {}
    for split, (video_id, _, rate) in VIDEOS.items():
        folder = root / "frames" / video_id
        names = sorted(p.name for p in folder.iterdir())
        assert names == [f"{video_id}_{n:06d}.jpg" for n in range(1, 121)]
        # Second 2 of the film is frame 30 of the folder, which begins with second 1.
        image = cv2.imread(str(folder / f"{video_id}_000031.jpg"))
        assert image.shape == (96, 128, 3) and read_numbers(image[None]) == [2 * rate]
        with open_video(root / "videos" / f"{video_id}.mp4") as video, open_video(folder) as frames:
            assert (video.height, video.width) == (64, 86)
            times = np.arange(120) / 30
            wide = np.stack([cv2.resize(f, (64, 48)) for f in video.read(times, tick=1 / 30)])
            numbers = read_numbers(frames.read(times))
            assert read_numbers(wide) == numbers
            assert numbers[0] == rate and numbers[90] == 4 * rate
        mapper = ClipDatasetMapper(
            False, augmentations=[], num_frames=4, frame_stride=2, fps=30, num_actions=80
        )
        files = ava_files(str(root), split=split, version="v2.2")
        clips = [mapper(record)["clip"].permute(1, 2, 3, 0).numpy() for record in load_ava(files)]
        shown[split] = [read_numbers(clip)[2] for clip in clips]
        checked = check_ava(split, files)
        assert checked.problems == [] and checked.records[0]["start_second"] == 1
    assert shown == {"train": [60, 120], "val": [48, 96]}
    # In videos that are read clip by clip every second frame serves no other one.
    assert _frame_kinds(root / "videos/-fast film.mp4")[:30] == "I" + "BP" * 14 + "P"
    assert "B" not in _frame_kinds(root / "videos/-fast film.mp4")[::2]
    record = json.loads((root / "frames/preparation.json").read_text())
    assert record["settings"]["ffmpeg"].startswith("ffmpeg version ")
    assert record["results"]["-fast film"]["num_frames"] == 120
    assert "-fast film,96,128,30,1,120" in (root / "annotations/video_info.csv").read_text()


def _frame_kinds(path):
    with av.open(str(path)) as container:
        return "".join("?IPB"[int(frame.pict_type)] for frame in container.decode(video=0))


@NEEDS_FFMPEG
def test_later_steps_know_what_was_trimmed(downloaded, capsys):
    root = downloaded
    assert run("trim", root, *SECTION) == 0
    capsys.readouterr()
    assert run("frames", root, "--start", 2) == 2
    assert f"the videos in {root / 'trimmed'} were made with --start 1" in capsys.readouterr().err
    for step, options in (("frames", ["--length", 4]), ("videos", ["--short-side", 0])):
        assert run(step, root, *options) == 0
        (root / "annotations/video_info.csv").rename(root / f"{step}.csv")
    assert (root / "frames.csv").read_text() == (root / "videos.csv").read_text()
    assert "%slow film,96,128,30,1,120" in (root / "videos.csv").read_text()
    record = json.loads((root / "videos/preparation.json").read_text())
    assert record["settings"]["section"] == {"start": 1.0, "length": 4.0}


@NEEDS_FFMPEG
def test_videos_without_the_step_trim_hold_the_same_frames(downloaded):
    root = downloaded
    assert run("videos", root, *SECTION, "--short-side", 0) == 0
    for video_id, _, rate in VIDEOS.values():
        with open_video(root / "videos" / f"{video_id}.mp4") as video:
            numbers = [read_numbers(frame[None])[0] for _, frame in video]
        assert numbers == list(range(rate, 5 * rate))


@NEEDS_FFMPEG
def test_a_step_goes_on_and_refuses_other_settings(downloaded, capsys):
    root = downloaded
    assert run("trim", root, *SECTION) == 0
    kept, remade = (root / "trimmed" / f"{v[0]}.mp4" for v in VIDEOS.values())
    content, before = remade.read_bytes(), kept.stat().st_mtime_ns
    remade.unlink()
    killed = root / "trimmed" / f".{remade.stem}.0123456789abcdef.partial.mp4"
    killed.write_bytes(b"left by an interrupted run")
    assert run("trim", root, *SECTION) == 0
    assert remade.read_bytes() == content and kept.stat().st_mtime_ns == before
    assert sorted(p.name for p in (root / "trimmed").iterdir()) == sorted(
        [kept.name, remade.name, "preparation.json"]
    )
    capsys.readouterr()
    assert run("trim", root, *SECTION, "--quality", 30) == 2
    assert "'quality': 30" in capsys.readouterr().err
    # A video that another program made is taken if it is right, and left alone if not.
    (root / "trimmed/preparation.json").unlink()
    remade.write_bytes(b"mine")
    assert run("trim", root, *SECTION) == 1
    assert "move it away" in capsys.readouterr().err
    assert remade.read_bytes() == b"mine" and kept.stat().st_mtime_ns == before


@NEEDS_FFMPEG
def test_a_damaged_film_fails_alone_and_stays(downloaded, capsys):
    root = downloaded
    film = root / "originals/-fast film.mkv"
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    damaged = film.read_bytes()
    assert run("trim", root, *SECTION) == 1
    output = capsys.readouterr()
    assert "-fast film: " in output.err and "expected 4" in output.err
    assert "trim: 1 of 2 videos" in output.out
    assert [p.name for p in (root / "trimmed").glob("*.mp4")] == ["%slow film.mp4"]
    assert film.read_bytes() == damaged
    assert run("trim", root, "--start", 10, "--length", 1) == 2
    assert "was made with" in capsys.readouterr().err


@pytest.fixture
def stub(tmp_path):
    """A program that notes its arguments, prints a version and otherwise fails."""
    path = tmp_path / "stub"
    path.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" >> "{tmp_path}/calls"; echo >> "{tmp_path}/calls"\n'
        'if [ "$1" = -version ]; then echo "ffmpeg version 99-stub Copyright"; exit 0; fi\n'
        "echo first >&2; echo 'no such luck' >&2; exit 3\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_commands_are_those_of_the_field(downloaded, stub, tmp_path, capsys):
    root = downloaded
    (root / "trimmed").mkdir()
    for split in VIDEOS.values():
        (root / "trimmed" / f"{split[0]}.mp4").write_bytes(b"")
    options = ["--ffmpeg", stub, "--splits", "train"]
    assert run("frames", root, *options, "--resampling", "output-rate") == 1
    assert "-fast film: ffmpeg failed with status 3: no such luck" in capsys.readouterr().err
    assert list((root / "frames").iterdir()) == []
    shutil.rmtree(root / "trimmed")
    assert run("trim", root, *options) == 1
    version, frames, version_again, cut = (tmp_path / "calls").read_text().splitlines()
    assert version == version_again == "-version|"
    general = "-hide_banner|-nostdin|-loglevel|error|-y|"
    frames, cut = (re.sub("[0-9a-f]{16}", "TOKEN", line) for line in (frames, cut))
    folder = str(root / "frames/.-fast film.TOKEN.partial").replace("%", "%%")
    assert frames == (
        f"{general}-i|{root}/trimmed/-fast film.mp4|-r|30|-q:v|1|{folder}/-fast film_%06d.jpg|"
    )
    assert cut.startswith(f"{general}-ss|900|-t|901|-i|{root}/originals/-fast film.mkv|-map|0:v:0|")
    assert cut.endswith(
        "|-crf|18|-pix_fmt|yuv420p|-threads|1|" + f"{root}/trimmed/.-fast film.TOKEN.partial.mp4|"
    )


def test_a_missing_ffmpeg_and_a_second_process_are_told(downloaded, tmp_path, capsys, stub):
    assert run("trim", downloaded, "--ffmpeg", tmp_path / "absent") == 2
    assert "absent: no such program; install ffmpeg" in capsys.readouterr().err
    with sole_user(downloaded / "trimmed"):
        assert run("trim", downloaded, "--ffmpeg", stub) == 2
    assert "another process is writing" in capsys.readouterr().err


def test_arguments_are_checked(capsys):
    wrong = ("trim --jobs 0", "trim --start -1", "trim --start nan", "videos --length nan")
    for arguments in (*wrong, "frames --gop"):
        with pytest.raises(SystemExit):
            prepare_ava.main(arguments.split())
    capsys.readouterr()
