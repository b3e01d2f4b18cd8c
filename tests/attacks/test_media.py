"""Videos with odd insides: many streams, streams of other kinds, headers that lie."""

from fractions import Fraction

import av
import numpy as np
import pytest
from memory_growth import MEGABYTE, growth
from numbered_videos import numbered_frame, read_numbers, write_video

from tubedet.data.video.video_file import VideoError, VideoFileReader

NUM_FRAMES = 20


def add_video(container):
    stream = container.add_stream("mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    return stream


def write(container, stream, other=None, content=b""):
    """Writes the numbered frames, and something in another stream beside each."""
    for number in range(NUM_FRAMES):
        frame = av.VideoFrame.from_ndarray(numbered_frame(number, 48, 64), format="rgb24")
        for packet in stream.encode(frame):
            container.mux(packet)
        if other is not None:
            packet = av.Packet(content)
            packet.stream, packet.time_base = other, Fraction(1, 10)
            packet.pts = packet.dts = number
            packet.duration = 1
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)


@pytest.mark.parametrize("is_first, num_sounds", [(True, 300), (False, 255), (False, 256)])
def test_256_streams_are_looked_at(tmp_path, is_first, num_sounds):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        video = add_video(container) if is_first else None
        for _ in range(num_sounds):
            container.add_stream("pcm_s16le", rate=8000)
        write(container, video or add_video(container))
    if not is_first and num_sounds == 256:
        with pytest.raises(VideoError, match="holds no video stream in its first 256 streams$"):
            VideoFileReader(path)
        return
    with VideoFileReader(path) as reader:
        assert len(reader._container.streams) == 256
        assert read_numbers(np.stack([frame for _, frame in reader])) == list(range(NUM_FRAMES))


def add_subtitles(container):
    return container.add_stream("ass"), b"0,0,Default,,0,0,0,,Hello"


def add_font(container):
    container.add_attachment("a.ttf", "application/x-truetype-font", bytes(MEGABYTE))
    return None, b""


def add_data(container):
    return container.add_data_stream(), b"\x01\x02\x03" * 50


@pytest.mark.parametrize(
    "name, add, kind",
    [
        ("a.mkv", add_subtitles, "subtitle"),
        ("a.mkv", add_font, "attachment"),
        ("a.ts", add_data, "data"),
        ("a.mov", None, "data"),  # a time code
    ],
)
def test_streams_of_other_kinds(tmp_path, name, add, kind):
    path = tmp_path / name
    if kind == "attachment" and not hasattr(av.container.OutputContainer, "add_attachment"):
        pytest.skip("PyAV writes attachments from 16 on")
    with av.open(str(path), "w") as container:
        other, content = (None, b"") if add is None else add(container)
        stream = add_video(container)
        if add is None:
            stream.metadata["timecode"] = "01:00:00:00"
        write(container, stream, other, content)
    with av.open(str(path)) as container:
        assert kind in {other.type for other in container.streams}
    with VideoFileReader(path) as reader:
        assert read_numbers(np.stack([frame for _, frame in reader])) == list(range(NUM_FRAMES))
        assert read_numbers(reader.read(np.array([0.5, 1.9]))) == [5, 19]
        assert reader.count_frames() == NUM_FRAMES


def test_headers_that_lie(tmp_path):
    """Each number of the header is made 0, large and largest."""
    path = write_video(tmp_path / "film.mp4", NUM_FRAMES, b_frames=2)
    prepare = """
import logging, pathlib
from tubedet.data.video.video_file import VideoFileReader
from tubedet.errors import UserError
logging.disable()
"""
    work = f"""
path = pathlib.Path({path!r})
content = path.read_bytes()
found = []
for place in range(content.index(b"moov"), len(content) - 3, 4):
    for number in (0, 2**31 - 1, 2**32 - 1):
        path.write_bytes(content[:place] + number.to_bytes(4, "big") + content[place + 4:])
        try:
            with VideoFileReader(path) as reader:
                count = sum(1 for _ in reader)
                assert 1 <= count <= {NUM_FRAMES} and reader.num_frames != 0
                assert 1 <= reader.count_frames() <= {NUM_FRAMES}
            found.append(count)
        except UserError as error:
            assert str(path) in str(error)
assert len(found) > 300 and {{1, {NUM_FRAMES}}} < set(found), (len(found), set(found))
"""
    assert growth(prepare, work) < 64 * MEGABYTE
