from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from picture_videos import picture_with_blocks, write_picture_video
from video_with_sound import write_video_with_sound

from tubedet.data.augmentation import build_clip_augmentations
from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.video.video_file import VideoError, VideoFileReader

CLIPS = Path(__file__).parents[3] / "../shared/data/clips"
TICK = 1 / 30


def expected_numbers(frame_times, times, tick=TICK):
    """The last frame that begins less than half a tick (and 1 ms of rounding) after each time."""
    frame_times = np.asarray(frame_times)
    return [
        max(int(np.count_nonzero(frame_times < t + tick / 2 - 1e-3)) - 1, 0)
        for t in np.maximum(times, 0)
    ]


def sampled_clips(duration, num_clips=25, num_frames=8, seed=0):
    """Times on the 1/30 s grid of AVA, some of them beyond both ends."""
    rng = np.random.default_rng(seed)
    for centre in rng.integers(0, int(duration * 30), num_clips):
        yield (centre + (np.arange(num_frames) - num_frames // 2) * 2) / 30


@pytest.mark.parametrize(
    "file_name, rate, options",
    [
        ("intra.mp4", 30, {"gop": 1}),
        ("b_frames.mp4", 30, {"b_frames": 3, "gop": 25}),
        ("ntsc.mp4", 30000 / 1001, {"b_frames": 2}),
        ("pal.mp4", 25, {"b_frames": 2, "gop": 250}),
        ("film.mkv", 24, {"b_frames": 3}),
        ("slow.mp4", 10, {}),
        ("fast.mp4", 60, {"b_frames": 2}),
        ("b_frames.avi", 30, {"codec": "mpeg4", "b_frames": 2}),
        ("one_key_frame.avi", 30, {"codec": "mpeg4", "gop": 600}),
        ("vp9.webm", 30, {"codec": "libvpx-vp9", "gop": 30}),
        ("offset.ts", 30, {"b_frames": 2}),
        ("offset.mkv", 30, {"b_frames": 2, "first_pts": 75}),
        ("offset.mp4", 30, {"b_frames": 2, "first_pts": 75}),
        ("with a space: and colon.mp4", 30, {}),
    ],
)
def test_every_time_gives_its_frame(tmp_path, write_video, numbers_in, file_name, rate, options):
    path = write_video(tmp_path / file_name, 90, rate=rate, **options)
    frame_times = np.arange(90) / rate
    with VideoFileReader(path) as reader:
        assert (reader.height, reader.width) == (48, 64)
        assert reader.fps == pytest.approx(rate, rel=1e-3)
        assert reader.num_frames == pytest.approx(90, abs=1)
        assert reader.duration == pytest.approx(90 / rate, abs=0.15)
        for times in sampled_clips(90 / rate):
            frames = reader.read(times, tick=TICK)
            assert frames.shape == (8, 48, 64, 3) and frames.dtype == np.uint8
            assert numbers_in(frames) == expected_numbers(frame_times, times)


@pytest.mark.parametrize(
    "rate, numbers", [(24, [0, 1, 1, 2, 3, 4]), (25, [0, 1, 2, 2, 3, 4, 5]), (60, [0, 2, 4, 6])]
)
def test_same_frames_as_of_ffmpegs_filter_fps(tmp_path, write_video, numbers_in, rate, numbers):
    path = write_video(tmp_path / "video.mp4", 20, rate=rate)
    with VideoFileReader(path) as reader:
        assert numbers_in(reader.read(np.arange(len(numbers)) / 30, tick=TICK)) == numbers


@pytest.mark.parametrize("file_name", ["vfr.mp4", "vfr.mkv"])
def test_variable_frame_rate(tmp_path, write_video, numbers_in, file_name):
    steps = np.random.default_rng(3).choice([0.02, 0.033, 0.1, 0.7], size=89)
    frame_times = np.concatenate([[0], np.cumsum(steps)]).round(3)
    path = write_video(tmp_path / file_name, 90, times=frame_times, b_frames=2, gop=20)
    with VideoFileReader(path) as reader:
        for times in sampled_clips(frame_times[-1]):
            assert numbers_in(reader.read(times, tick=TICK)) == expected_numbers(frame_times, times)


def test_default_tick_is_the_own_frame_interval(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "video.mp4", 30, rate=15)
    with VideoFileReader(path) as reader:
        assert numbers_in(reader.read([0.0, 2 / 15, 2.4 / 15, 2.6 / 15])) == [0, 2, 2, 3]


def test_times_may_come_in_any_order_and_repeat(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "video.mp4", 60, b_frames=2)
    with VideoFileReader(path) as reader:
        times = np.array([40, 3, 3, 59, -5, 12, 40]) / 30
        assert numbers_in(reader.read(times)) == [40, 3, 3, 59, 0, 12, 40]


def test_reads_only_from_the_key_frame_to_the_last_time(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / "video.mp4", 200, gop=10)
    counts = {"decoded": 0, "converted": 0}
    decoded_frames, rgb = VideoFileReader._decoded_frames, VideoFileReader.rgb

    def count_decoded(self, *leave_out):
        for frame in decoded_frames(self, *leave_out):
            counts["decoded"] += 1
            yield frame

    def count_converted(self, frame):
        counts["converted"] += 1
        return rgb(self, frame)

    with VideoFileReader(path) as reader:
        monkeypatch.setattr(VideoFileReader, "_decoded_frames", count_decoded)
        monkeypatch.setattr(VideoFileReader, "rgb", count_converted)
        reader.read(np.array([155, 155, 160, 160, 165]) / 30)
    assert counts["decoded"] <= 17
    assert counts["converted"] == 3


@pytest.mark.parametrize(("gop", "b_frames"), [(12, 0), (48, 3)])
def test_clip_of_32_frames_decodes_its_span_and_at_most_one_gop(
    tmp_path, write_video, monkeypatch, gop, b_frames
):
    path = write_video(tmp_path / "film.mp4", 240, gop=gop, b_frames=b_frames, size=(360, 640))
    mapper = ClipDatasetMapper(
        False,
        augmentations=build_clip_augmentations(is_train=False, short_sides=(256,), max_size=10_000),
        num_frames=32,
        frame_stride=2,
        fps=30,
        num_actions=80,
    )
    record = {"video_id": "film", "video": path, "fps": 30.0, "start_second": 900.0}
    mapper({**record, "timestamp": 902.0})  # opening the file decodes its first frame
    decoded = []
    decoded_frames = VideoFileReader._decoded_frames

    def count_decoded(self, *leave_out):
        for frame in decoded_frames(self, *leave_out):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(VideoFileReader, "_decoded_frames", count_decoded)
    span = 31 * 2 + 1
    for timestamp in (905.9, 902.5, 904.0):
        decoded.clear()
        clip = mapper({**record, "timestamp": timestamp})["clip"]
        assert clip.shape == (3, 32, 256, 455)
        # One frame more: the one after the last wanted frame shows that it is the last. B-frames
        # in between that are not wanted are left out.
        least = span if b_frames == 0 else span // 2
        assert least < len(decoded) <= span + gop + 1


@pytest.mark.parametrize("rotation, turns", [(90, 1), (180, 2), (-90, 3)])
def test_rotation_mark_is_applied(tmp_path, write_video, rotation, turns):
    path = write_video(tmp_path / "video.mp4", 5, rotation=rotation)
    plain = write_video(tmp_path / "plain.mp4", 5)
    with VideoFileReader(path) as reader, VideoFileReader(plain) as plain_reader:
        frames, upright = reader.read([0.1]), plain_reader.read([0.1])[0]
        assert frames.shape[1:3] == (reader.height, reader.width)
        np.testing.assert_array_equal(frames[0], np.rot90(upright, turns))


@pytest.mark.parametrize("file_name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts"])
@pytest.mark.parametrize("ratio", [Fraction(16, 9), Fraction(853, 720), None])
def test_the_shape_of_pixels_is_told_and_frames_stay_as_they_are(tmp_path, file_name, ratio):
    path = tmp_path / file_name
    write_picture_video(path, picture_with_blocks(48, 48), sample_aspect_ratio=ratio)
    with VideoFileReader(path) as reader:
        assert reader.sample_aspect_ratio == (ratio or 1)
        assert (reader.height, reader.width) == (48, 48) == reader.read([0.0]).shape[1:3]


def test_the_shape_of_pixels_is_turned_with_the_picture(tmp_path):
    path = write_picture_video(
        *(tmp_path / "a.mp4", picture_with_blocks()),
        **{"sample_aspect_ratio": Fraction(16, 9), "display_matrix": (0, 1, -1, 0)},
    )
    with VideoFileReader(path) as reader:
        assert reader.sample_aspect_ratio == Fraction(9, 16)
        assert (reader.height, reader.width) == (64, 48)


def test_the_rate_is_an_exact_fraction(tmp_path, write_video):
    path = write_video(tmp_path / "ntsc.mp4", 5, rate=Fraction(30000, 1001))
    with VideoFileReader(path) as reader:
        assert type(reader.rate) is Fraction and reader.rate == Fraction(30000, 1001)


@pytest.mark.parametrize("scale, shown", [(15360, 50), (1536, 6), (1, 1)])
def test_a_film_of_which_the_edit_list_shows_less(tmp_path, write_video, numbers_in, scale, shown):
    """Its 50 frames are stored for 1.67 s; slower ones no longer fit, and no player shows them."""
    path = Path(write_video(tmp_path / "film.mp4", 50))
    content = bytearray(path.read_bytes())
    place = content.index(b"mdhd") + 16  # units in a second
    assert content[place : place + 4] == (15360).to_bytes(4)
    content[place : place + 4] = scale.to_bytes(4)
    path.write_bytes(content)
    with VideoFileReader(path) as reader:
        assert numbers_in(np.stack([frame for _, frame in reader])) == list(range(shown))
        assert reader.num_frames == reader.count_frames() == shown
        assert reader.duration == pytest.approx(50 / 30, abs=2e-3 if scale > 1 else 0.5)


def test_titles_that_are_not_utf8_are_no_obstacle(tmp_path):
    path = write_video_with_sound(tmp_path / "film.mkv", odd_titles=True)
    with VideoFileReader(path) as reader:
        brightness = reader.read([0.5, 1.8, 0.0]).mean(axis=(1, 2, 3))  # rewinds for the last one
    np.testing.assert_allclose(brightness, (4 * 5, 4 * 18, 0), atol=3)


def test_iteration_gives_every_frame_once_and_leaves_read_alone(tmp_path, write_video, numbers_in):
    path = write_video(tmp_path / "video.ts", 50, b_frames=2)
    with VideoFileReader(path) as reader:
        seconds, numbers = [], []
        for second, frame in reader:
            seconds.append(second)
            numbers += numbers_in(frame[None])
            assert numbers_in(reader.read([1.0])) == [30]
    assert numbers == list(range(50))
    np.testing.assert_allclose(seconds, np.arange(50) / 30, atol=1e-4)


def test_missing_end_is_clamped_to_the_last_decodable_frame(tmp_path, write_video, numbers_in):
    path = Path(write_video(tmp_path / "v.mp4", 150, container_options={"movflags": "faststart"}))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with VideoFileReader(path) as reader:
        assert numbers_in(reader.read([10 / 30, 20 / 30])) == [10, 20]
        last = numbers_in(reader.read(np.array([10, 200]) / 30))[1]
        assert 60 < last < 140
        assert numbers_in(reader.read(np.array([last - 1, last, last + 5]) / 30)) == [
            last - 1,
            last,
            last,
        ]
        with pytest.raises(VideoError, match=r"v\.mp4: no frame from 4\.967 s on: .* s long"):
            reader.read(np.array([149, 150]) / 30)
        assert numbers_in(reader.read([1.0])) == [30]


def test_hole_in_the_middle_is_an_error_only_there(tmp_path, write_video, numbers_in):
    path = Path(write_video(tmp_path / "video.mp4", 200, gop=10))
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size, p.pts) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for pos, size, _ in packets[60:140]:
        content[pos : pos + size] = b"\xff" * size
    path.write_bytes(content)
    with VideoFileReader(path) as reader:
        assert numbers_in(reader.read(np.array([50, 55]) / 30)) == [50, 55]
        assert numbers_in(reader.read(np.array([150, 160]) / 30)) == [150, 160]
        with pytest.raises(VideoError, match=r"video\.mp4: not decodable at 4\.000 s"):
            reader.read(np.array([50, 120]) / 30)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "No such file"),
        (b"", "the file is empty"),
        (b"certainly no video" * 100, "cannot be opened as a video"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, message):
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as caught:
        VideoFileReader(path)
    assert str(path) in str(caught.value)


def test_sound_only_file_is_named(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound\.mkv: the file holds no video stream"):
        VideoFileReader(path)


def test_reading_fails_clearly_after_close_and_without_times(tmp_path, write_video):
    reader = VideoFileReader(write_video(tmp_path / "video.mp4", 5))
    for times in ([], [float("nan")], [[0.0]]):
        with pytest.raises(ValueError, match="non-empty list of finite seconds"):
            reader.read(times)
    with pytest.raises(VideoError, match=r"no frame before the first one: asked for -1\.000 s"):
        reader.read([-2.0, -1.0])
    reader.close()
    with pytest.raises(VideoError, match="closed"):
        reader.read([0.0])


@pytest.mark.parametrize(
    "name", ["R6llTwEh07w.mp4", "pets09_s2l1.avi", "v_SoccerJuggling_g23_c01.avi"]
)
def test_real_clips_give_the_frames_of_a_sequential_decode(name):
    if not (CLIPS / name).is_file():
        pytest.skip(f"{name}: the real clips are not part of the repository")
    with VideoFileReader(CLIPS / name) as reader:
        wanted = {0, 1, 5, 40, 101, 133, 200, 239}
        frames = {i: f for i, (_, f) in enumerate(reader) if i in wanted}
        for order in (sorted(wanted), sorted(wanted, reverse=True)):
            for number in order:
                read = reader.read([number / reader.fps])[0]
                np.testing.assert_array_equal(read, frames[number])
