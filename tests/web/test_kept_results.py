"""Who gets which results again."""

from tubedet.web.kept_results import Batch, KeptResults, ShownVideo


def batch_of(folder, name):
    video, csv = (folder / f"{name}{suffix}" for suffix in (".mp4", ".csv"))
    for path in (video, csv):
        path.touch()
    shown = ShownVideo(f"{name}.mp4", "done", "<svg>", str(video), [str(csv)])
    return Batch([f"{name}.mp4"], 0.5, 1.0, 1.0, videos=[shown])


def test_a_tab_gets_its_own_last_results(tmp_path):
    kept = KeptResults(keep_seconds=10)
    first, second, other = (batch_of(tmp_path, name) for name in "abc")
    kept.keep("1" * 32, first)
    kept.keep("2" * 32, other)
    kept.keep("1" * 32, second)
    assert kept.of("1" * 32) is second and kept.of("2" * 32) is other
    assert kept.of("3" * 32) is None and kept.of("") is None


def test_they_are_forgotten_by_age_and_number(tmp_path):
    now = [0.0]
    kept = KeptResults(keep_seconds=10, max_batches=2, clock=lambda: now[0])
    for name in "abc":
        kept.keep(name, batch_of(tmp_path, name))
        now[0] += 4
    assert [kept.of(name) is None for name in "abc"] == [True, False, False]
    now[0] = 14.5
    assert [kept.of(name) is None for name in "bc"] == [True, False]
    kept.keep("c", kept.of("c"))  # with a further video it is young again
    now[0] = 24.0
    assert kept.of("c") is not None


def test_results_whose_files_are_gone_are_not_shown(tmp_path):
    kept = KeptResults(keep_seconds=10)
    for suffix in (".mp4", ".csv"):
        kept.keep("a", batch_of(tmp_path, "a"))
        assert kept.of("a") is not None
        (tmp_path / f"a{suffix}").unlink()
        assert kept.of("a") is None
