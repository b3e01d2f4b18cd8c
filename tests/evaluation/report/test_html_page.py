"""The html report: its structure, and how it behaves in a real browser."""

import base64
import math
import re
from html.parser import HTMLParser

import cv2
import headless_browser
import numpy as np
import pytest

from tubedet.evaluation.confusion import ConfusionMatrix
from tubedet.evaluation.error_analysis import ClassFigures, ErrorAnalysis, Slice
from tubedet.evaluation.error_examples import Counterpart, Example
from tubedet.evaluation.error_kinds import MISSED, NOBODY, WRONG_ACTION
from tubedet.evaluation.report.html_page import (
    ProtocolFigure,
    ReportContent,
    render_html,
    write_html_report,
)
from tubedet.evaluation.report.page_frame import check_report_folder

HOSTILE = "<script>alert('x')</script> $title & \"quotes\" $x^2$"
CURVE = (np.array([1.0, 0.5, 2 / 3]), np.array([0.25, 0.25, 0.5]))


def jpg(value):
    return cv2.imencode(".jpg", np.full((20, 30, 3), value, np.uint8))[1].tobytes()


def example(name, score, remark="nobody there", **others):
    return Example("film & co", 902.5, name, (0.1, 0.2, 0.3, 0.4), score, remark, **others)


@pytest.fixture(scope="module")
def content():
    classes = [
        ClassFigures("sit", 0.5, 4, 100, 0.75),
        ClassFigures(HOSTILE, 0.25, 12, 9, 0.5),
        ClassFigures("run", 1.0, 7, 1000, 1.0),
    ]
    return ReportContent(
        title=HOSTILE,
        facts=(("key frames", "34"), ("predictions", HOSTILE)),
        protocol_figures=(
            ProtocolFigure("frame-mAP@0.5", "official", 0.58333, "50 rows", chosen=True),
            ProtocolFigure("frame-mAP@0.5", "official_2018", math.nan, HOSTILE),
        ),
        analysis=ErrorAnalysis(
            classes=classes,
            curves={entry.name: CURVE for entry in classes},
            by_size=[Slice("0-2 %", math.nan, 0, 0), Slice("2-5 %", 0.4, 3, 23)],
            by_people=[Slice("1", 0.0, 1, 5), Slice("2 or more", 0.9, 3, 18)],
            error_kinds={"correct": 10, "nobody there": 3},
            false_positives=[
                example("sit", 0.9),
                example(HOSTILE, 0.8, HOSTILE, nearest=Counterpart((0, 0, 1, 1), "run (IoU 0.04)")),
            ],
            missed=[
                example(
                    "run",
                    0.0,
                    "the person was not found",
                    is_groundtruth=True,
                    nearest=Counterpart((0, 0, 0.3, 0.4), HOSTILE),
                )
            ],
            gains={WRONG_ACTION: 0.125, NOBODY: 0.02, MISSED: 0.25},
            num_missed=1,
            confusion=ConfusionMatrix(
                ("sit", HOSTILE, "run"),
                exclusive=False,
                counts=np.array([[3, 1, 0], [2, 5, 0], [0, 0, 7]]),
                totals=np.array([[4, 4, 4], [8, 12, 12], [7, 7, 7]]),
                unseen=np.array([0, 3, 0]),
                num_persons=np.array([4, 12, 7]),
            ),
        ),
        rule=HOSTILE,
        false_positive_pictures=[jpg(10), None],
        missed_pictures=[jpg(200)],
    )


class Elements(HTMLParser):
    """All start tags with their attributes, and all text."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def images(self):
        return [attributes["src"] for tag, attributes in self.tags if tag == "img"]


def test_everything_is_on_the_page_and_nothing_is_loaded(content):
    document = render_html(content)
    elements = Elements(document)
    text = " ".join(" ".join(elements.text).split())
    for expected in (
        "frame-mAP@0.5 official 58.33",
        "official_2018 – ",
        "run 100.00 7 1,000 100.0",
        "sit 50.00 4 100 75.0",
        "sit 0.900 nobody there film & co @ 902.5",
        "run the person was not found nearest detection:",
        "nearest person: run (IoU 0.04)",
        "missed never detected, nor nearly so 1 box +25.00 classification",
        "background nobody there 3 23.1 % +2.00",
        "sit 2 of 8 25.0",
        "no picture box 0.100 0.200 0.300 0.400",
    ):
        assert expected in text
    images = elements.images()
    kinds = [re.match(r"data:image/(png|jpeg);base64,", image)[1] for image in images]
    assert sorted(kinds) == ["jpeg"] * 2 + ["png"] * 3
    for image in images:
        content = base64.b64decode(image.partition(",")[2], validate=True)
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
    assert base64.b64encode(jpg(10)).decode() in document
    addresses = [a[k] for _, a in elements.tags for k in ("src", "href", "action") if k in a]
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"https?:|url\(|@import", document)


def test_names_are_escaped(content):
    elements = Elements(render_html(content))
    assert [tag for tag, _ in elements.tags].count("script") == 1
    assert "".join(elements.text).count(HOSTILE) == 12


def test_report_without_anything(tmp_path):
    analysis = ErrorAnalysis([], {}, [Slice("1", math.nan, 0, 0)], [], {"correct": 0}, [], [])
    path = write_html_report(ReportContent("empty", (), (), analysis), tmp_path / "new" / "out")
    assert path == tmp_path / "new" / "out" / "index.html"
    assert "No class has ground truth" in path.read_text(encoding="utf-8")


def test_only_reports_are_replaced(tmp_path, content):
    path = write_html_report(content, tmp_path)
    assert write_html_report(content, tmp_path) == path
    path.write_text("<html>my home page</html>")
    for check in (check_report_folder, lambda folder: write_html_report(content, folder)):
        with pytest.raises(FileExistsError, match=f"{path} would be replaced and is no report of"):
            check(tmp_path)
    assert path.read_text() == "<html>my home page</html>"
    for folder in (path, path / "below"):
        with pytest.raises(NotADirectoryError, match=f"{path} is a file, the report needs a fol"):
            check_report_folder(folder)
    check_report_folder(tmp_path / "new" / "folder")


@pytest.fixture(scope="module")
def page(tmp_path_factory, content):
    if headless_browser.EXECUTABLE is None:
        pytest.skip("no chromium is installed")
    folder = tmp_path_factory.mktemp("report")
    path = write_html_report(content, folder)
    page = headless_browser.Page(folder / "profile")
    yield page, path
    page.close()


def test_a_browser_shows_it_and_sorts_it(page):
    page, path = page
    page.open(path.as_uri())
    assert page.requests == [path.as_uri()]
    assert page.evaluate("document.title") == HOSTILE
    pictures = "Array.from(document.images)"
    assert page.evaluate(f"{pictures}.length") == 5
    assert page.evaluate("document.querySelectorAll('.curves svg path.curve').length") == 3
    assert page.evaluate(f"{pictures}.every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    order = "Array.from(document.querySelectorAll('#classes tbody tr'), r => r.cells[{}].innerText)"
    sorted_head = "document.querySelector('#classes th[aria-sort]').innerText"

    def column_after_click(index):
        page.click(f"document.querySelectorAll('#classes th button')[{index}]")
        return page.evaluate(order.format(index))

    assert page.evaluate(order.format(1)) == ["100.00", "50.00", "25.00"]
    assert column_after_click(1) == ["25.00", "50.00", "100.00"]
    assert column_after_click(1) == ["100.00", "50.00", "25.00"]
    assert column_after_click(3) == ["1,000", "100", "9"]  # as numbers, not as text
    assert page.evaluate(sorted_head).startswith("detections")
    assert column_after_click(2) == ["12", "7", "4"]
    assert column_after_click(0) == [HOSTILE, "run", "sit"]
    assert column_after_click(0) == ["sit", "run", HOSTILE]
    assert page.evaluate("document.querySelectorAll('#classes th[aria-sort]').length") == 1

    assert page.problems == []
    assert page.requests == [path.as_uri()]


def test_it_fits_a_phone_and_bars_stand_beside_their_numbers(page):
    page, path = page
    for width in (390, 768, 1440):
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        page.open(path.as_uri())
        assert page.evaluate("window.innerWidth") == width
        # The desktop's scroll bar takes from the width.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        bars = (
            "Array.from(document.querySelectorAll('.gauge'), g => [g.querySelector('.bar'),"
            "g.querySelector('.value')].map(e => e.getBoundingClientRect()))"
        )
        apart = f"{bars}.every(([bar, value]) => bar.width === 0 || bar.right <= value.left)"
        assert page.evaluate(apart)
        assert page.evaluate(f"{bars}.some(([bar]) => bar.width > 40)") == (width > 390)
    page.call("Emulation.clearDeviceMetricsOverride")


def test_the_browser_would_tell_of_problems_and_requests(page, tmp_path):
    page, _ = page
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://localhost:9/x.png'><script>console.error('no')</script>")
    page.open(bad.as_uri())
    assert "http://localhost:9/x.png" in page.requests
    assert any("'no'" in problem for problem in page.problems)
