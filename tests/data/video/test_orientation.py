import io
from fractions import Fraction

import av
import numpy as np
import pytest
from picture_videos import block_centre, picture_with_blocks, write_picture_video
from PIL import Image

from tubedet.data.video.orientation import Orientation
from tubedet.data.video.video_file import VideoFileReader

# What (a, b, c, d) of a display matrix makes of a picture.
SHOWN = {
    (1, 0, 0, 1): lambda picture: picture,
    (-1, 0, 0, 1): lambda picture: picture[:, ::-1],
    (1, 0, 0, -1): lambda picture: picture[::-1],
    (-1, 0, 0, -1): lambda picture: picture[::-1, ::-1],
    (0, 1, 1, 0): lambda picture: picture.swapaxes(0, 1),
    (0, 1, -1, 0): lambda picture: np.rot90(picture, -1),
    (0, -1, 1, 0): lambda picture: np.rot90(picture),
    (0, -1, -1, 0): lambda picture: np.rot90(picture.swapaxes(0, 1), 2),
}


def _matrix(a, b, c, d):
    return np.array([[a, b, 0], [c, d, 0], [0, 0, 1 << 14]])


@pytest.mark.parametrize("matrix", SHOWN)
def test_every_reader_shows_all_eight_orientations(tmp_path, matrix):
    path = write_picture_video(tmp_path / "a.mp4", picture_with_blocks(), display_matrix=matrix)
    expected = SHOWN[matrix](picture_with_blocks())
    with VideoFileReader(path) as reader:
        assert (reader.height, reader.width) == expected.shape[:2]
        read = reader.read([0.3, 0.0, 0.1])
        iterated = [frame for _, frame in reader]
    assert len(iterated) == 5
    for frame in (*read, *iterated):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 8  # 4:2:0 blurs the edges
        assert block_centre(frame) == pytest.approx(block_centre(expected), abs=0.01)


@pytest.mark.parametrize(
    "matrix, centre",
    [((-1, 0, 0, 1), (0.37, 0.82)), ((1, 0, 0, -1), (0.63, 0.18))],
    ids=["left and right", "top and bottom"],
)
def test_a_mirrored_matrix_is_not_upside_down(tmp_path, matrix, centre):
    """Both looked like a rotation: the first by 180 degrees, the second by none."""
    path = write_picture_video(tmp_path / "a.mp4", picture_with_blocks(), display_matrix=matrix)
    with VideoFileReader(path) as reader:
        assert block_centre(reader.read([0.1])[0]) == pytest.approx(centre, abs=0.02)


@pytest.mark.parametrize("matrix", SHOWN)
def test_scale_and_rounding_change_nothing(matrix):
    picture = picture_with_blocks()
    turn = np.array([[np.cos(0.005), np.sin(0.005)], [-np.sin(0.005), np.cos(0.005)]])
    turned = (np.reshape(matrix, (2, 2)) @ turn).ravel()
    for a, b, c, d in (matrix, 3 * np.array(matrix), (*turned,)):
        orientation = Orientation.from_display_matrix(_matrix(a, b, c, d))
        np.testing.assert_array_equal(orientation.upright(picture), SHOWN[matrix](picture))
    assert Orientation.from_display_matrix(_matrix(1, 0, 0, 2)) == Orientation()


def test_a_matrix_that_shows_nothing_is_ignored():
    assert Orientation.from_display_matrix(np.zeros((3, 3))) == Orientation()
    assert Orientation.from_display_matrix(_matrix(1, 0, 1, 0)) == Orientation()


def test_another_angle_is_said(tmp_path, caplog):
    half = 0.5**0.5
    path = write_picture_video(
        tmp_path / "a.mp4", picture_with_blocks(), display_matrix=(half, half, -half, half)
    )
    with VideoFileReader(path) as reader:
        assert block_centre(reader.read([0.0])[0]) == pytest.approx((0.37, 0.18), abs=0.02)
    (record,) = caplog.records
    assert f"{path}: its frames stay as they are stored" in record.message
    assert "-45 degrees" in record.message


@pytest.mark.parametrize("exif, turns", [(6, -1), (3, 2)])
def test_jpgs_in_a_video_are_turned_by_their_exif_mark(tmp_path, exif, turns):
    """As cameras write them. PyAV 18 has no name for the EXIF data that FFmpeg adds to frames."""
    mark = Image.Exif()
    mark[0x0112] = exif
    jpg = io.BytesIO()
    Image.fromarray(picture_with_blocks()).save(jpg, "jpeg", exif=mark, quality=95)
    path = tmp_path / "camera.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(3):
            packet = av.Packet(jpg.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            container.mux(packet)
    expected = np.rot90(picture_with_blocks(), turns)
    with VideoFileReader(path) as reader:
        frame = reader.read([0.1])[0]
        assert frame.shape == expected.shape == (reader.height, reader.width, 3)
        assert block_centre(frame) == pytest.approx(block_centre(expected), abs=0.02)
