import json
import multiprocessing
import time

import pytest

from tubedet.inference.result_folder import ResultFolder, run_with_settings

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def in_another_process():
    """Runs a function in a process of its own until the test ends."""
    processes = []

    def start(function, *arguments):
        ready = FORK.Queue()
        processes.append(FORK.Process(target=function, args=(ready, *arguments)))
        processes[-1].start()
        ready.get(timeout=120)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def make_half(ready, path, name):
    with ResultFolder(path) as results, results.claim(name) as partial:
        (partial / "half.csv").write_text("half")
        ready.put(True)
        time.sleep(600)


def hold_run(ready, path, settings):
    with run_with_settings(path, settings):
        ready.put(True)
        time.sleep(600)


def publish(path, name, text="whole"):
    with ResultFolder(path) as results, results.claim(name) as partial:
        (partial / "rows.csv").write_text(text)
        results.publish(name, partial, {"video": f"/data/{name}.mp4"})


def test_a_result_appears_whole(tmp_path):
    with ResultFolder(tmp_path / "new" / "out") as results:
        with results.claim("film") as partial:
            (partial / "rows.csv").write_text("rows")
            assert not results.is_settled("film") and results.record("film") is None
            results.publish("film", partial, {"video": "/data/film.mp4"})
            assert results.is_settled("film")
        assert results.record("film") == {"video": "/data/film.mp4"}
        assert sorted(path.name for path in (results.path / "film").iterdir()) == [
            "rows.csv",
            "video.json",
        ]
        with results.claim("film") as partial:
            assert partial is None


def test_what_is_not_published_is_removed(tmp_path):
    with ResultFolder(tmp_path) as results:
        with pytest.raises(KeyboardInterrupt), results.claim("film") as partial:
            (partial / "rows.csv").write_text("rows")
            raise KeyboardInterrupt
        assert not partial.exists() and not results.is_settled("film")
        results.fail("film", "it is broken")
        assert results.is_settled("film") and results.failure("film") == "it is broken"
        assert results.failure("other") is None
        with results.claim("film") as partial:
            assert partial is None


def test_a_killed_process_leaves_its_work_to_others(tmp_path, in_another_process):
    process = in_another_process(make_half, tmp_path, "film")
    half = tmp_path / ".work" / "partial" / "film" / "half.csv"
    with ResultFolder(tmp_path) as results:
        with results.claim("film") as partial:
            assert partial is None
        results.remove_leftovers()
        assert half.exists() and not results.is_settled("film")
        process.kill()
        process.join()
        with results.claim("film") as partial:
            assert list(partial.iterdir()) == []
    process = in_another_process(make_half, tmp_path, "gone")
    process.kill()
    process.join()
    with ResultFolder(tmp_path) as results:
        results.remove_leftovers()
    assert list((tmp_path / ".work" / "partial").iterdir()) == []


def test_a_folder_of_the_user_is_no_result(tmp_path):
    (tmp_path / "film").mkdir()
    with ResultFolder(tmp_path) as results:
        with pytest.raises(ValueError, match="film exists already and is no result"):
            results.record("film")


def test_results_of_other_settings_are_not_mixed(tmp_path):
    with run_with_settings(tmp_path, {"every": 2.0, "formats": ("csv",)}):
        pass
    # Nothing was made with these settings.
    with run_with_settings(tmp_path, {"every": 1.0, "formats": ("csv",)}):
        publish(tmp_path, "film")
    assert json.loads((tmp_path / "run.json").read_text()) == {"every": 1.0, "formats": ["csv"]}
    for settings, message in [
        ({"every": 2.0, "formats": ["csv"]}, r"other settings \(every: 1.0 there, 2.0 now\)"),
        ({"every": 1.0}, r"formats: \['csv'\] there, \(absent\) now"),
    ]:
        with pytest.raises(ValueError, match=message):
            with run_with_settings(tmp_path, settings):
                raise AssertionError("not refused")
    with run_with_settings(tmp_path, {"formats": ["csv"], "every": 1}):
        pass
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match="run.json, which says how they were made, is missing"):
        with run_with_settings(tmp_path, {"every": 1.0, "formats": ["csv"]}):
            raise AssertionError("not refused")


def test_a_run_joins_one_that_is_under_way(tmp_path, in_another_process):
    other = in_another_process(hold_run, tmp_path, {"every": 1.0})
    with ResultFolder(tmp_path) as results:
        results.fail("film", "broken")
    with pytest.raises(ValueError, match="every: 1.0 there, 2.0 now"):
        with run_with_settings(tmp_path, {"every": 2.0}):
            raise AssertionError("not refused")
    with run_with_settings(tmp_path, {"every": 1.0}):
        with ResultFolder(tmp_path) as results:
            assert results.failure("film") == "broken"
    assert (tmp_path / ".work").exists()
    other.kill()
    other.join()
    with run_with_settings(tmp_path, {"every": 2.0}):
        with ResultFolder(tmp_path) as results:
            assert results.failure("film") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".claims.lock",
        ".run.lock",
        "run.json",
    ]


def test_the_first_of_two_attempts_is_the_result(tmp_path):
    with ResultFolder(tmp_path) as results:
        with results.attempt("film") as first, results.attempt("film") as second:
            assert first != second
            (first / "rows.csv").write_text("first")
            (second / "rows.csv").write_text("second")
            results.publish("film", second, {"number": 2})
            results.publish("film", first, {"number": 1})
        assert results.record("film") == {"number": 2}
        assert (tmp_path / "film" / "rows.csv").read_text() == "second"
        assert list((tmp_path / ".work" / "partial").iterdir()) == []


def test_a_result_that_ends_two_processes_has_failed(tmp_path, in_another_process):
    for deaths in (1, 2):
        process = in_another_process(make_half, tmp_path, "film")
        process.kill()
        process.join()
        with ResultFolder(tmp_path) as results:
            results.note_killed()
            assert results.num_deaths() == {"film": deaths}
            assert results.is_settled("film") == (deaths == 2)
    with ResultFolder(tmp_path) as results:
        assert results.failure("film") == "2 processes ended while they worked on it"
    with run_with_settings(tmp_path, {}), ResultFolder(tmp_path) as results:
        assert results.num_deaths() == {} and not results.is_settled("film")
