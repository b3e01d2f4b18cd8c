"""The command that evaluates, with several files of predictions."""

import contextlib
import functools
import io
import json
import re

import cv2
import headless_browser
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.cli.evaluate import file_names
from tubedet.cli.running import run_command
from tubedet.data import ActionTube, register_action_tubes
from tubedet.data.annotations.tube_files import AnnotatedVideo
from tubedet.errors import UserError

command = functools.partial(run_command, "evaluate")


def _write_data(folder):
    """Four videos of one key frame, in which somebody waits; A finds two of them, B three."""
    for video in range(4):
        frames = folder / "media" / f"film{video}"
        frames.mkdir(parents=True)
        for number in range(10):
            cv2.imwrite(str(frames / f"{number}.png"), np.full((40, 80, 3), 90, np.uint8))
    boxes = [f"film{video},0,0,0,40,40,1,0" for video in range(4)]
    (folder / "truth.csv").write_text("\n".join(boxes) + "\n")
    for name, found in (("a", 2), ("b", 3)):
        rows = [f"film{video},0,0,0,0.5,1,1,0.{9 - video}" for video in range(found)]
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    path = folder / "own.yaml"
    path.write_text(
        "videos: media\nannotations: truth.csv\nclasses: [wait, go]\nfps: 10\nboxes: pixels\n"
    )
    return path


@pytest.fixture
def own_yaml(tmp_path):
    return _write_data(tmp_path)


def _files(folder, *names):
    return ["--predictions", *(str(folder / f"{name}.csv") for name in names)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Folder with all that a comparison writes, and what it prints."""
    folder = tmp_path_factory.mktemp("compared")
    given = ["--dataset", str(_write_data(folder)), *_files(folder, "a", "b")]
    given += ["--names", "old", "new <1>"]
    for option, name in (("--json", "x.json"), ("--table", "x.tex"), ("--report", "report")):
        given += [option, str(folder / name)]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert command(given) == 0
    return folder, told.getvalue()


def test_table_json_and_pages(compared):
    folder, told = compared
    (row,) = [line for line in told.splitlines() if line.startswith("| frame-mAP@0.5IOU")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "frame-mAP@0.5IOU",
        "50.00 [0.00, 100.00]",
        "75.00 [25.00, 100.00]",
        "+25.00 [0.00, +75.00]",
        "4",
    ]
    assert "95 % intervals of 1000 bootstrap resamples of the 4 videos, the same for all" in told
    stored = json.loads((folder / "x.json").read_text())
    assert [entry["name"] for entry in stored["files"]] == ["old", "new <1>"]
    metric = stored["files"][1]["metrics"]["frame-mAP@0.5IOU"]
    assert metric["difference"] == 0.25
    # The third video is drawn at least once in 1 - (3/4)^4.
    assert metric["better"] == pytest.approx(1 - 0.75**4, abs=0.04)
    assert "+25.00" in (folder / "x.tex").read_text()

    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count('class="curve s0"') == page.count('class="curve s1"') == 2  # and the legend
    assert "new &lt;1&gt; - old" in page and "new <1>" not in page
    assert re.findall('href="([^"]+/index.html)"', page) == ["1/index.html", "2/index.html"]
    for number, missed in ((1, 2), (2, 1)):
        page = (folder / "report" / str(number) / "index.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg") == missed
        assert f"{missed} box{'es' if missed > 1 else ''}</td>" in page
        assert '<a href="../index.html">' in page
    assert "75.00 <small>[25.00, 100.00]</small>" in page


def test_the_page_fits_a_phone(compared, tmp_path):
    if headless_browser.EXECUTABLE is None:
        pytest.skip("no chromium is installed")
    folder, _ = compared
    page = headless_browser.Page(tmp_path / "profile")
    try:
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=390,
            height=844,
            deviceScaleFactor=1,
            mobile=True,
        )
        page.open((folder / "report" / "index.html").as_uri())
        assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        page.click("document.querySelectorAll('#classes th button')[3]")
        sorted_by = "document.querySelector('#classes th[aria-sort]').innerText"
        assert page.evaluate(sorted_by).startswith("new <1> - old")
        page.click("document.querySelectorAll('li a')[1]")
        page.wait_for("document.location.pathname.endsWith('/2/index.html')")
        assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        assert page.problems == []
    finally:
        page.close()


def test_intervals_of_one_file(own_yaml, tmp_path, capsys):
    given = ["--dataset", str(own_yaml), *_files(tmp_path, "a"), "--json", str(tmp_path / "x.json")]
    assert command(given) == 0
    plain = json.loads((tmp_path / "x.json").read_text())
    told = capsys.readouterr().out
    assert set(plain) == {"protocol", "unit", "mAP@0.5IOU", "per_class"} and "[" not in told
    assert command([*given, "--bootstrap", "500", "--table", str(tmp_path / "x.md")]) == 0
    assert capsys.readouterr().out.startswith(told + "frame-mAP@0.5IOU 50.00 [0.00, 100.00]\n")
    stored = json.loads((tmp_path / "x.json").read_text())
    assert stored.pop("bootstrap")["resamples"] == 500
    assert stored.pop("intervals") == {"frame-mAP@0.5IOU": [0, 1]}
    assert stored == plain
    assert command([*given, "--bootstrap", "500", "--report", str(tmp_path / "r")]) == 0
    page = (tmp_path / "r" / "index.html").read_text(encoding="utf-8")
    assert page.count("50.00 <small>[0.00, 100.00]</small>") == 1  # of the chosen protocol
    assert "In brackets: 95 % intervals of 500 bootstrap resamples" in page
    assert "| wait             |                50.00 |" in (tmp_path / "x.md").read_text()


def test_one_annotated_video_has_no_interval(own_yaml, tmp_path, capsys):
    (tmp_path / "truth.csv").write_text("film0,0,0,0,40,40,1,0\n")
    assert command(["--dataset", str(own_yaml), *_files(tmp_path, "a", "b")]) == 0
    told = capsys.readouterr().out
    assert "No intervals: 1 video has ground truth" in told and "[" not in told


def test_video_map_has_intervals_too(tmp_path, capsys):
    numbers = np.arange(1, 21)
    boxes = np.tile(np.array([0, 0, 40, 40], np.float32), (20, 1))
    name = f"tubes of {tmp_path}"
    register_action_tubes(
        name,
        lambda: {
            f"film{video}": AnnotatedVideo([ActionTube(0, numbers, boxes)], 20, size=(40, 80))
            for video in range(3)
        },
        action_names=["wait", "go"],
        frames_dir=str(tmp_path),
        videos_dir=str(tmp_path),
        fps=10,
        exclusive_actions=True,
    )
    for file, found in (("a", 1), ("b", 3)):
        rows = [f"film{v},{n},0,0,0.5,1,1,0.{9 - v}" for v in range(found) for n in range(1, 21)]
        (tmp_path / f"{file}.csv").write_text("\n".join(rows) + "\n")
    try:
        given = ["--dataset", name, *_files(tmp_path, "a", "b"), "--json"]
        assert command([*given, str(tmp_path / "x.json")]) == 0
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    metrics = [e["metrics"] for e in json.loads((tmp_path / "x.json").read_text())["files"]]
    for metric in ("frame-mAP@0.5", "video-mAP@0.2", "video-mAP@0.5:0.95"):
        assert metrics[0][metric]["value"] == pytest.approx(1 / 3)
        assert metrics[1][metric]["interval"] == [1, 1]
        assert metrics[1][metric]["difference_interval"] == pytest.approx([0, 1])
    assert "+66.67 [0.00, +100.00]" in capsys.readouterr().out


def test_wrong_input_is_one_line(own_yaml, tmp_path, capsys):
    (tmp_path / "other.csv").write_text("somewhere,7,0,0,0.5,1,1,0.9\n")
    given = ["--dataset", str(own_yaml)]
    two = _files(tmp_path, "a", "b")
    for words, message in (
        (_files(tmp_path, "a", "other"), f"{tmp_path}/other.csv and .* no evaluated key frame in"),
        (_files(tmp_path, "a", "absent"), "absent.csv: No such file"),
        ([*two, "--names", "x"], "--names: 1 names for 2 files of --predictions; give one"),
        ([*two, "--names", "x", "x"], "--names: two names are equal"),
        (_files(tmp_path, "a", "a"), "--predictions: a file is given twice"),
        ([*two, "--bootstrap", "7"], "--bootstrap 7: give at least 100 resamples"),
        ([*two, "--table", "x.docx"], "--table x.docx: the ending says the format"),
        ([*two, "--table", str(tmp_path / "no" / "x.md")], "--table: there is no folder"),
        ([*two, "--explain", "x.yaml", "--report", "r"], "--explain shows where one model looks"),
        (
            [*_files(tmp_path, *"aaaaaaa"), "--names", *"1234567", "--report", "r"],
            "more than the 6",
        ),
    ):
        try:
            status = command([*given, *words])
        except SystemExit as exit_:
            status = exit_.code
        captured = capsys.readouterr()
        assert status == 2 and captured.out == ""
        assert re.search(message, captured.err), captured.err
        assert captured.err.count("\n") == 1


def test_names_are_what_differs(tmp_path):
    paths = [tmp_path / run / "inference" / "found.csv.gz" for run in ("one", "two")]
    assert file_names(paths) == ["one", "two"]
    assert file_names([paths[0], tmp_path / "best.csv"]) == ["found", "best"]
    deep = [tmp_path / "a" / "x.csv", tmp_path / "a" / "b" / "x.csv"]
    assert len(set(file_names(deep))) == 2
    with pytest.raises(UserError, match="given twice"):
        file_names([paths[0], paths[0]])
