import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import av
import numpy as np
import pytest
from growing_video import write_growing_video
from numbered_videos import write_video

from tubedet.data.video import container as module
from tubedet.data.video.accepted_media import file_options
from tubedet.data.video.container import VideoError, open_video_container, video_stream
from tubedet.data.video.video_file import VideoFileReader
from tubedet.errors import UserError


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served_folder():
    """``served_folder(path)`` serves a folder, and returns its address."""
    servers = []

    def serve(folder):
        handler = functools.partial(_QuietHandler, directory=str(folder))
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_video_stream_is_found_behind_the_sound(tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(video.encode())
        samples = np.zeros((1, 800), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
    with open_video_container(str(path), num_threads=2) as container:
        stream = video_stream(container)
        assert (stream.type, stream.index, stream.width) == ("video", 1, 64)
        assert stream.codec_context.thread_count == 2


def test_pictures_are_no_videos(tmp_path):
    path = tmp_path / "picture.bin"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
    with pytest.raises(VideoError, match=r"picture\.bin: the file is a still image \(png_pipe\)"):
        open_video_container(str(path), num_threads=1)


def test_frames_that_grow_are_not_decoded(tmp_path):
    path = write_growing_video(tmp_path / "film.avi", [(96, 96)] * 3 + [(4000, 4000)] * 2)
    sizes = []
    with open_video_container(path, num_threads=1, max_pixels=10_000) as container:
        stream = video_stream(container)
        for packet in container.demux(stream):
            try:
                sizes += [(frame.width, frame.height) for frame in stream.decode(packet)]
            except av.error.FFmpegError as error:
                sizes.append(type(error).__name__)
    assert sizes == [(96, 96)] * 3 + ["ArgumentError"] * 2
    with pytest.raises(VideoError, match="frames of 96x96 pixels, and at most 9,000 pixels are"):
        open_video_container(path, num_threads=1, max_pixels=9_000)
    with VideoFileReader(path, max_pixels=10_000) as reader:
        assert len(list(reader)) == 3


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfilm.ts\n#EXT-X-ENDLIST\n",
    "list.mp4": "ffconcat version 1.0\nfile film.ts\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
    'type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>film.ts</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "list.txt": "plain text of somebody\n" * 20,
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_file_cannot_open_other_files(tmp_path, name):
    write_video(tmp_path / "film.ts", 5)
    (tmp_path / name).write_text(PLAYLISTS[name])
    if name in ("list.m3u8", "list.mp4"):  # which FFmpeg itself would do
        with av.open(str(tmp_path / name)) as container:
            assert len(list(container.decode(video=0))) == 5
    with pytest.raises(VideoError, match=f"{name}: cannot be opened as a video"):
        open_video_container(str(tmp_path / name), num_threads=1)


def test_an_address_in_the_network_opens_no_file(tmp_path, served_folder):
    write_video(tmp_path / "film.ts", 5)
    (tmp_path / "good.m3u8").write_text(PLAYLISTS["list.m3u8"])
    (tmp_path / "bad.m3u8").write_text(
        PLAYLISTS["list.m3u8"].replace("film.ts", f"file://{tmp_path}/film.ts")
    )
    address = served_folder(tmp_path)
    with VideoFileReader(f"{address}/good.m3u8") as reader:
        assert (reader.width, reader.height) == (64, 48)
    with pytest.raises(VideoError, match=r"bad\.m3u8: cannot be opened as a video"):
        open_video_container(f"{address}/bad.m3u8", num_threads=1)


@pytest.mark.parametrize("scheme", ["file", "concat", "subfile", "data", "pipe", "ftp", "gopher"])
def test_other_addresses_are_refused(tmp_path, scheme):
    path = write_video(tmp_path / "film.ts", 5)
    with pytest.raises(UserError, match=f"^{scheme}://.*: not an address of a video; accepted are"):
        open_video_container(f"{scheme}://{path}", num_threads=1)


def test_the_names_of_formats_are_those_of_ffmpeg():
    known = set(av.formats_available)
    names = set(file_options()["format_whitelist"].split(","))
    # What an older FFmpeg does not have yet.
    assert len(names - known) <= 2 and "concat" not in names and "hls" not in names
    assert "matroska,webm" in file_options()["format_whitelist"]


def test_a_video_without_a_decoder_is_named(tmp_path, write_video, monkeypatch):
    # FFmpeg does not know the codec of H.264 in some program streams.
    path = write_video(tmp_path / "film.mp4", 5)
    monkeypatch.setattr(module, "video_stream", lambda _: SimpleNamespace(codec_context=None))
    with pytest.raises(VideoError, match=r"film\.mp4: there is no decoder for its video; convert"):
        open_video_container(path, num_threads=1)
