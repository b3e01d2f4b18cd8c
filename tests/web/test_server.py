"""The page's server: which files can be had from it."""

import errno
import http.client
import json
import os
import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from page_client import TAB, ask, detect, get, join, post, upload

gradio = pytest.importorskip("gradio")

from tubedet.inference.device_faults import BrokenDeviceError  # noqa: E402
from tubedet.web import video_analysis  # noqa: E402
from tubedet.web.job_request import EXAMPLE, RESTORE, SHOW, STOP  # noqa: E402
from tubedet.web.page import make_page  # noqa: E402
from tubedet.web.server import serve as serve_page  # noqa: E402
from tubedet.web.server import serving  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # gradio's of pandas
ROOT = Path(__file__).parents[2]


@pytest.fixture
def serve(detector, action_names):
    """Serves a page and adds it to ``pages``, if there is such a list."""

    def start(keep_seconds=600, max_megabytes=1.0, pages=None, access=None, **more):
        def page(work_folder):
            limits = {"max_megabytes": max_megabytes, "max_seconds": 10.0}
            made = make_page(
                detector, action_names, work_folder, keep_seconds=keep_seconds, **limits, **more
            )
            if pages is not None:
                pages.append(made)
            return made

        options = {"host": "127.0.0.1", "port": None, "keep_seconds": keep_seconds}
        return serving(page, max_megabytes=max_megabytes, **{**options, **(access or {})})

    return start


def routes_of(router):
    """Method and path of everything that an application would answer."""
    for route in router.routes:
        if hasattr(route, "methods"):
            yield from ((method, route.path) for method in route.methods)
        else:  # newer FastAPIs keep the routers that were included
            yield from routes_of(getattr(route, "original_router", route))


def test_every_route_that_the_page_does_not_need_is_closed(serve):
    pages = []
    with serve(pages=pages) as address:
        routes = set(routes_of(pages[0].app))
        open_routes = set()
        for method, path in routes:
            # Nothing is sent, so that what is open refuses or answers at once.
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
            connection.request(method, re.sub(r"\{[^}]*\}", "/x", path).replace("//", "/"))
            response = connection.getresponse()
            is_closed = response.status == 403 and response.headers["Content-Length"] == "11"
            if not is_closed:  # "Not allowed"; gradio's own refusals are longer
                open_routes.add((method, path))
            connection.close()
    assert len(routes) > 60 and ("POST", "/gradio_api/process_recording") in routes
    assert open_routes == {
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/assets/{path:path}"),
        ("GET", "/static/{path:path}"),
        ("GET", "/favicon.ico"),
        ("GET", "/manifest.json"),
        ("GET", "/theme.css"),
        ("GET", "/gradio_api/app_id"),
        ("GET", "/gradio_api/file={path_or_url:path}"),
        ("HEAD", "/gradio_api/file={path_or_url:path}"),
        ("POST", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/queue/data"),
        ("GET", "/gradio_api/startup-events"),
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/upload_progress"),
    }


def test_recordings_are_not_converted(serve, film):
    """gradio would run FFmpeg on it."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"'
    body = f"{head}\r\n\r\n".encode() + film.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with serve() as address:
        for path in ("/gradio_api/process_recording", "/gradio_api/process_recording/"):
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
            connection.request("POST", path, body, headers)
            assert connection.getresponse().status == 403


def test_only_uploads_and_results_can_be_had(serve, film, tmp_path, monkeypatch):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film.read_bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.mp4").write_bytes(bytes(2 * 2**20))
    with serve(max_megabytes=1.0) as address:
        assert urlsplit(address).hostname == "127.0.0.1"
        status, content = upload(address, film)
        assert status == 200
        (uploaded,) = json.loads(content)
        served = Path(uploaded).parents[1]
        assert get(address, f"/gradio_api/file={quote(uploaded)}") == (200, film.read_bytes())

        climbing = os.path.relpath("/etc/passwd", served)
        forbidden = [
            *("/etc/passwd", "../../../../../etc/passwd", str(secret), "secret.mp4", f"{served}"),
            *(f"{served}/{climbing}", f"{served.parent}/work", str(ROOT / "README.md")),
            *(f"{ROOT}/configs/Base-TubeR.yaml", "file:///etc/passwd", f"{address}theme.css"),
        ]
        for name in forbidden:
            for path in (f"/gradio_api/file={name}", f"/gradio_api/file={quote(name, safe='')}"):
                assert get(address, path)[0] in (403, 404), path
        for path in (
            "/etc/passwd",
            "/../../../../etc/passwd",
            "/static/../../../../../../../../../../etc/passwd",
            "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
            f"/gradio_api/proxy={address}theme.css",
            "/gradio_api/runs",
            "/monitoring",
        ):
            assert get(address, path)[0] in (403, 404), path

        status, content = upload(address, tmp_path / "large.mp4")
        assert status == 413 and b"At most 1.06 MB are accepted" in content

        # Nor can the model be pointed at them.
        climbing = f"{served}/../../{secret.name}"
        for path in (str(secret), "secret.mp4", f"{address}theme.css", "/etc/passwd", climbing):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                detect(address, path)

        result = detect(address, uploaded)
        assert result[-1]["success"]
        text = json.dumps(result)
        assert "5 key frames, 2 persons found" in text
        csv = next(part for part in text.split('"') if part.endswith("my film.csv"))
        assert csv.startswith(str(served))
        rows = get(address, f"/gradio_api/file={quote(csv)}")[1].decode()
        assert rows.startswith("my film,") and len(rows.splitlines()) == 20
        assert list((served.parent / "work").iterdir()) == []
    assert not served.parent.exists()


def test_files_are_deleted_after_a_while(serve, film):
    with serve(keep_seconds=1) as address:
        _, content = upload(address, film)
        (uploaded,) = json.loads(content)
        folder = Path(uploaded).parents[1]
        deadline = time.monotonic() + 60
        while any(path.is_file() for path in folder.rglob("*")):
            assert time.monotonic() < deadline, list(folder.rglob("*"))
            time.sleep(0.1)
        assert get(address, f"/gradio_api/file={quote(uploaded)}")[0] == 403
        # Whoever presses the button too late is told so.
        assert "upload it again" in json.dumps(detect(address, uploaded))


def test_a_broken_gpu_is_told_to_the_visitor_and_to_the_server(serve, film, monkeypatch):
    def break_down(*arguments, **options):
        raise BrokenDeviceError("cuda:0 works no more: CUDA error: device-side assert triggered")

    faults = []
    monkeypatch.setattr(video_analysis, "write_video_results", break_down)
    with serve(on_broken=faults.append) as address:
        _, content = upload(address, film)
        result = detect(address, json.loads(content)[0])
        assert result[-1]["success"] and "stopped working" in json.dumps(result)
    assert [type(fault) for fault in faults] == [BrokenDeviceError]


def test_the_server_ends_when_it_is_told(detector, action_names):
    def page(work_folder):
        limits = {"max_megabytes": 1.0, "max_seconds": 10.0, "keep_seconds": 600}
        return make_page(detector, action_names, work_folder, **limits)

    answers = [False, True]
    options = {"host": "127.0.0.1", "port": None, "max_megabytes": 1.0, "keep_seconds": 600}
    serve_page(page, is_over=lambda: answers.pop(0), **options)
    assert answers == []


def test_files_are_deleted_whatever_the_upload_is(serve, film):
    with serve(keep_seconds=1) as address:
        _, content = upload(address, film)
        folder = Path(json.loads(content)[0]).parents[1]
        (folder / "folder.mp4").mkdir()
        detect(address, str(folder / "folder.mp4"))  # a folder for a file
        # An upload that is broken off.
        host, port = urlsplit(address).netloc.split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\n"
            head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000\r\n\r\n"
            body = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
            connection.sendall((head + body + "0" * 500).encode())
            time.sleep(0.5)
        deadline = time.monotonic() + 60
        while list(folder.iterdir()):
            assert time.monotonic() < deadline, list(folder.rglob("*"))
            time.sleep(0.1)


def test_a_token_and_a_foreign_name(serve):
    with serve(access={"token": "0123456789abcdef", "names": ["demo.example"]}) as address:
        bare, _, query = address.partition("?")
        assert query == "token=0123456789abcdef"
        assert get(bare, "/")[0] == 401
        connection = http.client.HTTPConnection(urlsplit(bare).netloc, timeout=30)
        headers = {"Authorization": "Bearer 0123456789abcdef"}
        for name, status in (("demo.example", 200), ("evil.example", 421)):
            connection.request("GET", "/", headers={**headers, "Host": name})
            response = connection.getresponse()
            response.read()
            assert response.status == status


def test_a_job_that_takes_too_long_is_ended(serve, film):
    with serve(max_minutes=1e-9) as address:
        _, content = upload(address, film)
        result = detect(address, json.loads(content)[0])
        assert "my film.mp4 takes longer than 1e-09 minutes" in json.dumps(result)


def test_wrong_requests_are_answered_in_a_line(serve, capfd):
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    without_file = '--B\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--B--\r\n'
    with serve() as address:
        for number in (-1, 99, 10**30):
            body = json.dumps(
                {"data": [None, 0.5, 1.0, 1.0, TAB], "fn_index": number, "session_hash": "a"}
            )
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/gradio_api/queue/join", body, headers)
            response = connection.getresponse()
            assert (response.status, response.read()) == (
                400,
                b"This is no request of the page's form",
            )
        assert get(address, "/gradio_api/queue/data?session_hash=unknown")[0] == 404
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        connection.request("POST", "/gradio_api/upload", without_file, form)
        response = connection.getresponse()
        assert (response.status, response.read()) == (400, b"No file was sent")
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_full_disk_is_told_and_others_go_on(serve, film, monkeypatch, capfd):
    write, fulls = video_analysis.write_video_results, [True, False]

    def write_on_full_disk(detector, source, outputs, **options):
        if not fulls.pop(0):
            return write(detector, source, outputs, **options)
        outputs.video.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(video_analysis, "write_video_results", write_on_full_disk)
    with serve() as address:
        _, content = upload(address, film)
        (uploaded,) = json.loads(content)
        work = Path(uploaded).parents[2] / "work"
        assert "The disk of this page is full. Try again" in json.dumps(detect(address, uploaded))
        assert list(work.iterdir()) == []
        assert "5 key frames" in json.dumps(detect(address, uploaded))
    assert "Traceback" not in "".join(capfd.readouterr())


def test_results_are_there_again_for_the_same_tab_alone(serve, film):
    with serve() as address:
        _, content = upload(address, film)
        detect(address, json.loads(content)[0])
        again = json.dumps(ask(address, RESTORE, TAB)[-1]["output"])
        assert "5 key frames, 2 persons" in again and "my film.csv" in again
        csv = next(part for part in again.split('"') if part.endswith("my film.csv"))
        assert get(address, f"/gradio_api/file={quote(csv)}")[0] == 200
        for answer in (ask(address, RESTORE, "1" * 32), ask(address, SHOW, 0, "1" * 32)):
            text = json.dumps(answer)
            assert answer[-1]["success"] and "my film" not in text and "key frames" not in text
        # Nor is there one for those who know a session.
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(address, RESTORE, "")


def test_the_example_is_an_upload(serve, film, tmp_path):
    example = tmp_path / "clip.mp4"
    example.write_bytes(film.read_bytes())
    with serve(example=example) as address:
        text = json.dumps(ask(address, EXAMPLE)[-1]["output"])
        path = next(part for part in text.split('"') if part.endswith("/clip.mp4"))
        assert get(address, f"/gradio_api/file={quote(path)}") == (200, film.read_bytes())
        assert get(address, f"/gradio_api/file={quote(str(example))}")[0] == 403
        assert "5 key frames" in json.dumps(detect(address, path))
    with serve() as address:
        assert "clip.mp4" not in json.dumps(ask(address, EXAMPLE))


def test_a_disk_that_is_full_when_results_are_handed_out(serve, film, monkeypatch, capfd):
    copy, fulls = shutil.copy2, ["my film.mp4", "my film.csv"]

    def copy_to_full_disk(source, target, **options):
        if fulls and Path(source).name == fulls[0]:
            fulls.pop(0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
        return copy(source, target, **options)

    with serve() as address:
        _, content = upload(address, film)
        (uploaded,) = json.loads(content)
        served = Path(uploaded).parents[1]
        monkeypatch.setattr(shutil, "copy2", copy_to_full_disk)
        for left in (1, 0):
            said = json.dumps(detect(address, uploaded))
            assert "The disk of this page is full. Try again" in said and len(fulls) == left
            assert list((served.parent / "work").iterdir()) == []
        assert not list(served.rglob("*.csv"))
        result = json.dumps(detect(address, uploaded))
        assert "5 key frames" in result and "my film.csv" in result
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.fixture
def may_go_on(monkeypatch):
    """Jobs wait until it is set."""
    may_go_on = threading.Event()
    write = video_analysis.write_video_results

    def wait(*arguments, **options):
        assert may_go_on.wait(60)
        return write(*arguments, **options)

    monkeypatch.setattr(video_analysis, "write_video_results", wait)
    yield may_go_on
    may_go_on.set()


def test_each_video_of_a_visitor_waits(serve, film, may_go_on):
    with serve() as address:
        _, content = upload(address, film)
        (uploaded,) = json.loads(content)
        statuses = [join(address, uploaded, f"visitor{n}", num_videos=6)[0] for n in range(5)]
        # The first one may have begun.
        assert statuses[:3] == [200] * 3 and statuses[4] == 503
        may_go_on.set()


def test_twenty_wait_and_more_are_told(serve, film, may_go_on):
    with serve() as address:
        _, content = upload(address, film)
        (uploaded,) = json.loads(content)
        answers = [join(address, uploaded, f"visitor{number}") for number in range(25)]
        stop = {"data": [], "fn_index": STOP, "session_hash": "visitor30"}
        assert post(address, stop)[0] == 200  # a full queue does not hold it up
        refused = [content for status, content in answers if status == 503]
        assert {status for status, _ in answers} == {200, 503}
        assert 4 <= len(refused) <= 5 and all(b"Queue is full" in content for content in refused)
        may_go_on.set()
        # Two tabs of one visitor are two sessions.
        for session in ("visitor0", "visitor19"):
            data = f"{address}gradio_api/queue/data?session_hash={session}"
            with urllib.request.urlopen(data, timeout=120) as stream:
                done = next(line for line in stream if b"process_completed" in line)
            assert b'"success":true' in done.replace(b" ", b"")
