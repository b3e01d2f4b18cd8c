"""The page in a real browser: upload, result, download, reload, keyboard."""

import json
import re
import time

import headless_browser
import pytest

gradio = pytest.importorskip("gradio")

from tubedet.inference import VideoOutputs, write_video_results  # noqa: E402
from tubedet.web.page import make_page  # noqa: E402
from tubedet.web.server import serving  # noqa: E402

pytestmark = [
    pytest.mark.skipif(headless_browser.EXECUTABLE is None, reason="no Chromium is installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # gradio's of pandas
]


UNPLAYABLE = "text.mp4: this browser cannot play it. The page takes it all the same."


@pytest.fixture(scope="module")
def address(detector, action_names, film):
    def page(work_folder):
        limits = {"max_megabytes": 0.25, "max_seconds": 8.0, "keep_seconds": 600}
        options = {"model_name": "toy", "example": film, **limits}
        return make_page(detector, action_names, work_folder, **options)

    options = {"host": "127.0.0.1", "port": None, "keep_seconds": 600}
    with serving(page, max_megabytes=0.25, **options) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory, address):
    browser = headless_browser.Page(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
    assert all(request.startswith((address, "blob:")) for request in browser.requests)


@pytest.fixture
def page(browser, address):
    return opened_anew(browser, address)


def opened_anew(page, address):
    """A tab that knows nothing of what it showed before."""
    page.open(address)
    page.evaluate("sessionStorage.clear()")
    return opened(page, address)


def opened(page, address):
    page.open(address)
    page.wait_for("document.querySelector('#upload input[type=file]') !== null")
    return page


def contrast(*colours):
    """Ratio of the luminances of two colours such as "rgb(1, 2, 3)", as WCAG has it."""
    luminances = []
    for colour in colours:
        parts = [int(part) / 255 for part in re.findall(r"[0-9]+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        luminances.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def upload_and_detect(page, *paths):
    page.choose_files("#upload input[type=file]", *paths)
    names = "document.querySelector('#upload').textContent.replace(/\\s/g, '')"
    for path in paths:
        page.wait_for(f"{names}.includes({path.name.replace(' ', '')[-8:]!r})")
    page.wait_for("document.querySelector('#upload [href*=\"file=\"]') !== null")
    page.click("document.querySelector('#detect')")
    return page.wait_for("document.querySelector('#status p')?.innerText")


def rows_of(page):
    """Texts of the timeline without its axis."""
    rows = page.evaluate("[...document.querySelectorAll('#timeline text')].map(t => t.textContent)")
    return [row for row in rows if not row.startswith("0:")]


def is_within(page):
    """Whether nothing is wider than the page, at three widths in two colours."""
    for width in (390, 768, 1440):
        for is_dark in (False, True):
            page.evaluate(f"document.body.classList.toggle('dark', {str(is_dark).lower()})")
            page.set_width(width)
            if page.evaluate("document.documentElement.scrollWidth - innerWidth") > 0:
                return False
            # The message can be read in both colours.
            colours = page.evaluate(
                "(s => [s.color, s.backgroundColor])(getComputedStyle("
                "document.querySelector('#status p')))"
            )
            assert contrast(*colours) > 7
    return True


def test_upload_result_and_download(page, film, detector, action_names, tmp_path):
    status = upload_and_detect(page, film)
    assert status == "5 key frames, 2 persons found, 2 with actions above the threshold."
    duration = page.wait_for("document.querySelector('#annotated video')?.duration")
    assert duration == pytest.approx(5.0, abs=0.2)
    assert rows_of(page) == ["Person #0", "walk" * 2, "Person #1", "sit <b>" * 2]
    # The second bar by keyboard, then by mouse: to the moment when the second person comes.
    page.evaluate("document.querySelectorAll('#timeline [data-start]')[1].focus()")
    page.press("x", 88)
    page.press("Enter", 13)
    page.wait_for("document.querySelector('#annotated video').currentTime === 1.5")
    page.evaluate("document.querySelector('#annotated video').currentTime = 0")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "sit <b>, 0:01.5 to 0:04.5, score up to 0.90"
    assert page.evaluate("document.querySelector('#model').innerText") == "Model toy: 3 actions"
    # A click on the second person's bar goes to the moment when he comes.
    page.click("document.querySelectorAll('#timeline [data-start]')[1]")
    page.wait_for("document.querySelector('#annotated video').currentTime === 1.5")

    assert is_within(page)

    downloads = tmp_path / "downloads"
    page.save_downloads_to(downloads)
    for number, suffix in enumerate((".csv", ".jsonl")):
        page.click(f"document.querySelectorAll('#files a')[{number}]")
        file = downloads / f"my film{suffix}"
        deadline = time.monotonic() + 120
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    expected = VideoOutputs(
        predictions=tmp_path / "my film.csv", json_lines=tmp_path / "my film.jsonl"
    )
    write_video_results(detector, film, expected, action_names=action_names, every=1.0)
    for name in ("my film.csv", "my film.jsonl"):
        assert (downloads / name).read_bytes() == (tmp_path / name).read_bytes()
    assert (
        len(json.loads((downloads / "my film.jsonl").read_text().splitlines()[3])["persons"]) == 2
    )


def test_user_errors_are_shown_on_the_page(page, address, make_film, tmp_path):
    assert "at most 8 seconds" in upload_and_detect(page, make_film(tmp_path / "long.mp4", 9.0))
    (tmp_path / "text.mp4").write_text("certainly no video")
    opened_anew(page, address)
    assert "cannot be read as a video" in upload_and_detect(page, tmp_path / "text.mp4")
    assert page.evaluate("document.querySelector('#preview').innerText") == UNPLAYABLE
    assert page.evaluate("document.querySelector('#annotated video')") is None
    (tmp_path / "large.mp4").write_bytes(bytes(2**19))
    opened_anew(page, address)
    page.choose_files("#upload input[type=file]", tmp_path / "large.mp4")
    page.wait_for("document.body.innerText.includes('exceed the maximum allowed size')")


def test_results_stay_when_the_page_is_loaded_again(page, address, film):
    status = upload_and_detect(page, film)
    opened(page, address)
    assert page.wait_for("document.querySelector('#status p')?.innerText") == status
    assert page.wait_for("document.querySelector('#annotated video')?.duration") > 4
    assert rows_of(page) == ["Person #0", "walk" * 2, "Person #1", "sit <b>" * 2]
    assert page.evaluate("document.querySelectorAll('#files a').length") == 2
    # The upload is there, too: another threshold needs no further one.
    page.wait_for("document.querySelector('#preview video')?.duration > 4")
    page.evaluate("document.querySelector('#threshold input[type=range]').focus()")
    page.press("Home", 36)
    page.wait_for("document.querySelector('#timeline').textContent.includes('jump')")
    page.wait_for("document.querySelector('#annotated video') !== null")
    opened(page, address)
    page.wait_for("document.querySelector('#threshold input[type=range]').value === '0.05'")
    assert "jump" * 2 in rows_of(page)
    # Another tab knows nothing of it.
    opened_anew(page, address)
    time.sleep(1)
    assert page.evaluate("document.querySelector('#status').innerText") == ""
    assert page.evaluate("document.querySelector('#annotated video')") is None


def test_the_example_stop_and_sliders_by_keyboard(page, detector, monkeypatch):
    forward = type(detector.model).forward

    def forward_slowly(model, batched_inputs):
        time.sleep(3)  # long enough for a loaded machine to press Stop
        return forward(model, batched_inputs)

    def tab_to(name):
        for _ in range(40):
            page.press("Tab", 9)
            if page.evaluate(f"document.activeElement.id === {name!r}"):
                return
        raise AssertionError(f"{name} is not reached")

    monkeypatch.setattr(type(detector.model), "forward", forward_slowly)
    tab_to("example")
    page.press("Enter", 13)
    assert page.wait_for("document.querySelector('#preview video')?.duration") > 4
    tab_to("detect")
    page.press("Enter", 13)
    page.wait_for("!document.querySelector('#stop').disabled")
    tab_to("stop")
    page.press(" ", 32)
    status = page.wait_for("document.querySelector('#status p')?.innerText")
    assert status.startswith("Stopped at ") and " key frames, " in status
    page.wait_for("document.querySelector('#stop').disabled")


def test_several_videos(page, film, make_film, tmp_path):
    odd = "odd ${1+1}<img src=x onerror=document.title=1>.mp4"
    (tmp_path / "text.mp4").write_text("certainly no video")
    status = upload_and_detect(page, film, make_film(tmp_path / odd, 2.0), tmp_path / "text.mp4")
    assert status.startswith("my film.mp4: 5 key frames, ")
    previews = page.evaluate("document.querySelector('#preview').innerText").splitlines()
    assert [line for line in previews if line] == ["my film.mp4", odd, UNPLAYABLE]
    choices = "document.querySelectorAll('#chosen input')"
    page.wait_for(f"{choices}.length === 3 && document.querySelector('#stop').disabled")
    assert page.evaluate("document.querySelector('#chosen').innerText").endswith("(failed)")
    assert is_within(page)
    page.evaluate(f"{choices}[1].focus()")
    page.press(" ", 32)
    page.wait_for("document.querySelector('#status p').innerText.includes('2 key frames, ')")
    page.wait_for("document.querySelector('#annotated video').duration < 3")
    page.click(f"{choices}[2]")
    page.wait_for("document.querySelector('#status p').innerText.startsWith('text.mp4 cannot')")
    page.wait_for("document.querySelector('#annotated video') === null")
    assert page.evaluate("document.title") == "tubedet: Who does what, when"
