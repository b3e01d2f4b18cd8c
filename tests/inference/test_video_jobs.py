import errno
import itertools
import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest

from tubedet.data import VideoError
from tubedet.inference.result_folder import ResultFolder, run_with_settings
from tubedet.inference.video_jobs import VideoJob, process_videos, read_video_list

FORK = multiprocessing.get_context("fork")
LINES = 400  # of a result
JOBS = [VideoJob(f"film{number}", f"/data/film{number}.mp4") for number in range(12)]


def read(tmp_path, text):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    return {job.source: job.name for job in read_video_list(tmp_path / "list.txt")}


def test_a_list(tmp_path):
    (tmp_path / "frames.of.a film").mkdir()
    text = "\ufeff# mine\n\n  a film.mp4 \r\n/elsewhere/b.avi\nframes.of.a film\n./a film.mp4\n"
    assert read(tmp_path, f"{text}http://x/y/c.mp4?key=1\nd/.e.mp4") == {
        f"{tmp_path}/a film.mp4": "a film",
        "/elsewhere/b.avi": "b",
        f"{tmp_path}/frames.of.a film": "frames.of.a film",
        "http://x/y/c.mp4?key=1": "c",
        f"{tmp_path}/d/.e.mp4": "e",
    }


def test_names_differ(tmp_path):
    names = read(tmp_path, "one/clip.mp4\ntwo/Clip.mp4\ntwo/clip.avi\nother.mp4")
    names = {Path(source).relative_to(tmp_path).as_posix(): name for source, name in names.items()}
    assert names == {
        "one/clip.mp4": "one_clip",
        "two/Clip.mp4": "two_Clip.mp4",
        "two/clip.avi": "two_clip.avi",
        "other.mp4": "other",
    }
    with pytest.raises(ValueError, match="one/x/clip.mp4 and .*two/x/clip.mp4.* named x_clip.mp4"):
        read(tmp_path, "one/x/clip.mp4\ntwo/x/clip.mp4")
    with pytest.raises(ValueError, match="Run.json.mp4: Run.json is a file of the results"):
        read(tmp_path, "Run.json.mp4")


@pytest.mark.parametrize("content, message", [(b"# none\n", "names no video"), (b"\xff", "UTF-8")])
def test_no_list(tmp_path, content, message):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"list.txt .*{message}"):
        read_video_list(tmp_path / "list.txt")


def write_result(job, folder, after_line=lambda: None):
    """Two files, written in many small steps."""
    if job.name == "film7":
        raise VideoError(f"{job.source}: not a single frame")
    for suffix in ("csv", "jsonl"):
        with open(folder / f"{job.name}.{suffix}", "w") as stream:
            for step in range(LINES // 2):
                print(job.source, step, file=stream, flush=True)
                after_line()
    return {"video": job.source}


def run(path):
    """What each process of a run does."""
    with ResultFolder(path) as results:
        process_videos(JOBS, results, write_result, poll_seconds=0.01)


def run_and_be_killed(path, after_lines):
    """The same with an end by SIGKILL after so many lines."""
    lines = itertools.count(1)

    def count():
        if next(lines) == after_lines:
            os.kill(os.getpid(), signal.SIGKILL)

    with ResultFolder(path) as results:
        process_videos(JOBS, results, lambda job, folder: write_result(job, folder, count))


def contents(path):
    return {
        file.relative_to(path).as_posix(): file.read_text()
        for file in path.rglob("*")
        if file.is_file() and not file.name.endswith(".lock")
    }


def test_processes_killed_at_random_moments(tmp_path):
    with run_with_settings(tmp_path / "undisturbed", {}):
        run(tmp_path / "undisturbed")
    expected = contents(tmp_path / "undisturbed")
    assert len(expected) == 11 * 3 + 1

    # In 20 times this many lines there are less than 11 whole results, so some work is left always.
    output, moments, most = tmp_path / "killed", random.Random(5), LINES // 2 * 3
    half_done = 0
    for _ in range(10):
        with run_with_settings(output, {}):
            processes = [
                FORK.Process(target=run_and_be_killed, args=(output, moments.randint(1, most)))
                for _ in range(2)
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
                assert process.exitcode == -signal.SIGKILL
            half_done += len(list((output / ".work" / "partial").iterdir()))
        for name in {path.parent for path in output.glob("*/*")}:
            for file in name.iterdir():
                assert file.read_text() == expected[file.relative_to(output).as_posix()]
    assert half_done >= 10  # the one that is killed last leaves it behind, the other often too
    with run_with_settings(output, {}):
        processes = [FORK.Process(target=run, args=(output,)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        with ResultFolder(output) as results:
            assert results.failure("film7") == "/data/film7.mp4: not a single frame"
    assert contents(output) == expected


def test_each_video_is_done_once(tmp_path):
    def note_and_write(job, folder):
        if not own_jobs:
            all_have_one.wait(timeout=120)
        own_jobs.append(job)
        done.put((job.name, multiprocessing.current_process().pid))
        return write_result(job, folder)

    def work():
        with ResultFolder(tmp_path) as results:
            process_videos(JOBS, results, note_and_write, poll_seconds=0.01)
            finished.put(all(results.is_settled(job.name) for job in JOBS))

    done, finished, all_have_one = FORK.Queue(), FORK.Queue(), FORK.Barrier(3)
    own_jobs = []  # of one process: fork copies the list
    processes = [FORK.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    notes = [done.get(timeout=120) for _ in JOBS]
    # Nobody leaves before all is done, so that someone is there if a process ends early.
    assert [finished.get(timeout=120) for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    assert done.empty()
    assert sorted(name for name, _ in notes) == sorted(job.name for job in JOBS)
    assert len({pid for _, pid in notes}) == 3


def test_broken_videos_do_not_stop_the_rest(tmp_path, caplog):
    def process(job, folder):
        if job.name == "film3":
            raise RuntimeError("out of memory")
        return write_result(job, folder)

    calls = []
    with ResultFolder(tmp_path) as results:
        process_videos(JOBS, results, process, progress=lambda: calls.append(None))
        assert results.failure("film3") == "RuntimeError: out of memory"
        assert results.failure("film7").endswith("not a single frame")
        assert results.record("film8") == {"video": "/data/film8.mp4"}
    assert len(list(tmp_path.glob("*/video.json"))) == 10 and len(calls) == 13
    (unexpected,) = caplog.records  # the command prints the others at its end
    assert unexpected.exc_info and "film3" in unexpected.getMessage()


def test_progress_when_others_have_done_all(tmp_path):
    seen = []

    def note_progress():
        seen.append(sum(results.is_settled(job.name) for job in JOBS))

    run(tmp_path)
    with ResultFolder(tmp_path) as results:
        process_videos(JOBS, results, write_result, progress=note_progress)
    assert seen == [len(JOBS)]


def test_a_full_disk_stops_the_run(tmp_path):
    def process(job, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with ResultFolder(tmp_path) as results:
        with pytest.raises(OSError, match="No space left"):
            process_videos(JOBS, results, process)
        assert not results.is_settled("film0")


def test_names_of_246_characters_leave_room_for_suffixes(tmp_path):
    stems = ["x" * 242, "x" * 251, "ö" * 120 + "a", "ö" * 120 + "b", "y" * 220]
    (tmp_path / "list.txt").write_text("".join(f"{stem}.mp4\n" for stem in stems))
    names = [job.name for job in read_video_list(tmp_path / "list.txt")]
    assert len(set(names)) == 5 and names[4] == stems[4]
    with ResultFolder(tmp_path / "out") as results:
        for name in names:
            assert len(os.fsencode(f"{name}.coco.json")) <= 255
            with results.claim(name) as folder, results.attempt(name) as other:
                (folder / f"{name}.coco.json").touch()
                assert other.is_dir()
                results.publish(name, folder, {"video": name})
            assert results.record(name) == {"video": name}
