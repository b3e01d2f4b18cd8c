"""Small files that would fill the memory: the peak of a process that reads them is bounded."""

import zipfile
from pathlib import Path

import av
from growing_video import write_growing_video
from memory_growth import MEGABYTE, growth

READ_CHECKPOINT = """
from tubedet.checkpoint import CheckpointError
from tubedet.checkpoint.safe_loading import load_checkpoint_file
"""


def test_nine_bytes_of_a_checkpoint_take_no_gigabyte(tmp_path):
    # Place 2 ** 28 - 1 of a table, for which the unpickler in C reserves 2 GB.
    bomb = b"\x80\x02K\x01r\xff\xff\xff\x0f."
    for name in ("bomb.pkl", "bomb.pth"):
        (tmp_path / name).write_bytes(bomb)
    with zipfile.ZipFile(tmp_path / "zipped.pth", "w") as archive:
        archive.writestr("archive/data.pkl", bomb)
    work = f"""
for name in ("bomb.pkl", "bomb.pth", "zipped.pth"):
    try:
        load_checkpoint_file({str(tmp_path)!r} + "/" + name)
    except CheckpointError:
        pass
"""
    assert growth(READ_CHECKPOINT, work) < 64 * MEGABYTE


def test_frames_that_grow_take_no_gigabyte(tmp_path):
    path = write_growing_video(tmp_path / "film.avi", [(96, 96)] * 3 + [(9000, 9000)])
    assert Path(path).stat().st_size < 2 * MEGABYTE  # 81 megapixels: 122 MB decoded
    prepare = "from tubedet.data.video.video_file import VideoFileReader"
    work = f"""
with VideoFileReader({path!r}) as reader:
    assert sum(1 for _ in reader) == 3
"""
    assert growth(prepare, work) < 64 * MEGABYTE


def test_a_video_of_a_high_rate_takes_no_gigabyte(tmp_path):
    path = tmp_path / "fast.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=600, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        frame = av.VideoFrame(1280, 720, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(1200):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert path.stat().st_size < MEGABYTE  # 1200 frames are 1.6 GB decoded
    prepare = """
from recording_detector import RecordingModel
from tubedet.engine import load_config
from tubedet.inference import VideoActionDetector
opts = ["INPUT.CLIP.NUM_FRAMES", "4", "INPUT.MIN_SIZE_TEST", "64"]
detector = VideoActionDetector(load_config("", opts), model=RecordingModel())
"""
    work = f"""
assert sum(1 for _ in detector.frames({str(path)!r})) == 1200
"""
    # 256 MB of waiting frames, and what is read ahead.
    assert growth(prepare, work) < 450 * MEGABYTE
