"""What the functions of the page answer."""

from types import SimpleNamespace

import pytest

gradio = pytest.importorskip("gradio")

from tubedet.inference.device_faults import BrokenDeviceError  # noqa: E402
from tubedet.web import video_analysis  # noqa: E402
from tubedet.web.job_request import MAX_VIDEOS  # noqa: E402
from tubedet.web.kept_results import KeptResults  # noqa: E402
from tubedet.web.page_jobs import PageJobs  # noqa: E402
from tubedet.web.video_analysis import VideoAnalysis  # noqa: E402

TAB, OTHER = "1" * 32, "2" * 32
SLIDERS = (0.5, 1.0, 1.0)


class Page:
    """The functions, and a browser with one session and tab that looks at what they answer."""

    def __init__(self, jobs, faults):
        self.jobs, self.faults, self.told = jobs, faults, []
        self.request = SimpleNamespace(session_hash="s")

    def run(self, paths, sliders=SLIDERS, tab=TAB, function="run"):
        paths = [str(path) for path in paths]
        outputs = getattr(self.jobs, function)(paths, *sliders, tab, self.request, self.progress)
        return [View(*output) for output in outputs]

    def progress(self, fraction, desc):
        self.told.append((fraction, desc))

    def stop(self, fraction, desc):
        self.jobs.stop(self.request)


class View:
    def __init__(self, status, choice, video, timeline, files, stop, *fields):
        self.status = status.split(">", 2)[-1].split("<")[0] if isinstance(status, str) else None
        self.labels = [label for label, _ in choice.get("choices", ())]
        self.choice, self.video, self.timeline = choice, video, timeline
        self.files = files.get("value") if isinstance(files, dict) else None
        self.can_stop, self.fields = stop.get("interactive"), fields


@pytest.fixture
def page(detector, action_names, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "served").mkdir()
    limits = {"max_megabytes": 1.0, "max_seconds": 10.0}
    analysis = VideoAnalysis(detector, action_names, work_folder=tmp_path / "work", **limits)

    def copied(path):
        target = tmp_path / "served" / path.name
        target.write_bytes(path.read_bytes())
        return str(target)

    faults = []
    results = KeptResults(keep_seconds=100)
    options = {"copied": copied, "on_broken": faults.append, "example": tmp_path / "clip.mp4"}
    return Page(PageJobs(analysis, results, **options), faults)


@pytest.fixture
def films(make_film, tmp_path):
    """Two videos with a text between them."""
    (tmp_path / "b.mp4").write_text("certainly no video")
    make_film(tmp_path / "a.mp4", 2.0)
    make_film(tmp_path / "c.mp4", 5.0)
    return [tmp_path / f"{name}.mp4" for name in "abc"]


def test_one_video(page, film):
    begun, done = page.run([film])
    assert (begun.status, begun.video, begun.can_stop) == ("", None, True)
    assert done.status == "5 key frames, 2 persons found, 2 with actions above the threshold."
    assert not done.choice["visible"] and not done.can_stop and "<svg" in done.timeline
    assert [path.rpartition("/")[2] for path in (done.video, *done.files)] == [
        *("my film.mp4", "my film.csv", "my film.jsonl")
    ]
    assert page.told[0] == (0.0, "Looking at the video")


def test_several_videos_one_after_another(page, films):
    begun, first, second, third = page.run(films)
    assert begun.can_stop and first.can_stop and second.can_stop and not third.can_stop
    assert first.status.startswith("a.mp4: 2 key frames, ") and first.video.endswith("a.mp4")
    assert third.labels == ["1. a.mp4", "2. b.mp4 (failed)", "3. c.mp4"]
    assert third.choice["visible"] and third.choice["value"] == 0
    # The first one is shown already: it is not sent again.
    assert [isinstance(view.video, dict) for view in (first, second, third)] == [False, True, True]
    assert {text for _, text in page.told} == {"Video 1 of 3", "Video 3 of 3"}
    fractions = [fraction for fraction, _ in page.told]
    assert fractions == sorted(fractions) and fractions[-1] > 0.9

    chosen = View(*page.jobs.show(2, TAB))
    assert chosen.status.startswith("c.mp4: 5 key frames") and chosen.video.endswith("c.mp4")
    failed = View(*page.jobs.show(1, TAB))
    assert failed.status.startswith("b.mp4 cannot be read") and failed.video is None
    assert failed.files == []


def test_the_first_video_that_can_be_shown_is(page, films):
    *_, last = page.run(films[1:])
    assert last.video.endswith("c.mp4") and last.choice["value"] == 1
    *_, last = page.run(films[1:2])
    assert last.status.startswith("b.mp4 cannot be read") and last.video is None


def test_what_cannot_be_begun(page, film):
    (view,) = page.run([])
    assert view.status == "Choose a video first."
    (view,) = page.run([film] * (MAX_VIDEOS + 1))
    assert view.status == "11 videos are chosen, and at most 10 are taken at once."
    assert View(*page.jobs.show(0, TAB)).status.startswith("These results are deleted")


def test_a_tab_gets_its_results_again_and_no_other_does(page, films):
    page.run(films, sliders=(0.15, 2.0, 0.5))
    page.jobs.show(2, TAB)
    again = View(*page.jobs.restore(TAB))
    assert again.status.startswith("c.mp4: 10 key frames") and again.video.endswith("c.mp4")
    assert again.choice["value"] == 2 and len(again.labels) == 3 and not again.can_stop
    assert again.fields == ([str(path) for path in films], 0.15, 2.0, 0.5)
    for tab in (OTHER, "", "s"):
        answer = page.jobs.restore(tab)
        assert len(answer) == 10 and all(value == gradio.skip() for value in answer)
    assert View(*page.jobs.show(2, OTHER)).video is None
    films[0].unlink()  # uploads are older than results
    assert View(*page.jobs.restore(TAB)).fields[0] is None


def test_what_is_known_is_drawn_again(page, films):
    skipped = page.run(films, function="redraw")
    assert len(skipped) == 1 and skipped[0].status is None
    page.run(films)
    page.jobs.show(2, TAB)
    *_, last = page.run(films, sliders=(0.15, 1.0, 1.0), function="redraw")
    assert last.video.endswith("c.mp4") and "jump" in last.timeline
    assert last.choice["value"] == 2 and last.labels[1] == "2. b.mp4 (failed)"
    skipped = page.run(films, sliders=(0.15, 2.0, 1.0), function="redraw")  # another rate
    assert skipped[0].status is None
    assert page.run(films[1:2], function="redraw")[0].status is None


def test_stop_ends_this_video_and_those_after_it(page, films):
    outputs = page.jobs.run([str(path) for path in films], *SLIDERS, TAB, page.request, page.stop)
    _, last = outputs
    view = View(*last)
    assert view.status.startswith("a.mp4: Stopped at ") and not view.can_stop
    assert view.labels == ["1. a.mp4"]


def test_a_video_that_was_done_while_the_visitor_was_away(page, film):
    outputs = page.jobs.run([str(film)], *SLIDERS, TAB, page.request, page.progress)
    next(outputs), next(outputs)
    outputs.close()  # as gradio does when nobody listens
    assert View(*page.jobs.restore(TAB)).status.startswith("5 key frames")


def test_a_device_that_breaks_ends_the_batch(page, films, monkeypatch):
    def break_down(*arguments, **options):
        raise BrokenDeviceError("cuda:0 works no more: CUDA error: device-side assert triggered")

    monkeypatch.setattr(video_analysis, "write_video_results", break_down)
    _, last = page.run(films)
    assert last.status.startswith("The GPU of this page stopped working.") and len(page.faults) == 1


def test_the_example(page, film, tmp_path):
    _, status = page.jobs.take_example()
    assert "The example clip cannot be had" in status  # it was deleted
    (tmp_path / "clip.mp4").write_bytes(film.read_bytes())
    paths, status = page.jobs.take_example()
    assert paths == [str(tmp_path / "served/clip.mp4")] and "error" not in status
