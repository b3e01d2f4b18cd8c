import av
import numpy as np
import pytest

from tubedet.data.video.container import VideoError, open_video_container, video_stream


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
