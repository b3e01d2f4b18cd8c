import pytest

from tubedet.files.urls import is_url, url_stem


@pytest.mark.parametrize("path", ["http://host/a.mp4", "rtsp://camera:554/1", "RTMP+x://a"])
def test_urls(path):
    assert is_url(path)


@pytest.mark.parametrize("path", ["a.mp4", "/tmp/a: b//c.mp4", "C:\\films\\a.mp4", "a b://c", ""])
def test_paths_are_no_urls(path):
    assert not is_url(path)


@pytest.mark.parametrize("path", ["/videos/http://host/a.mp4", "./a://b", "1a://b", "://a"])
def test_a_scheme_begins_with_a_letter_and_the_url(path):
    assert not is_url(path)


@pytest.mark.parametrize(
    ("url", "stem"),
    [
        ("http://host/films/a%20film.mp4?key=1.x", "a film"),
        ("rtsp://camera:554", "camera"),
        ("file:///", "stream"),
    ],
)
def test_the_stem_of_a_url(url, stem):
    assert url_stem(url) == stem
