"""A video whose frames change their size on the way."""

from fractions import Fraction

import av


def write_growing_video(path, sizes):
    """Writes an avi with one black frame of each (width, height), and returns the path as str."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=10)
        (stream.width, stream.height), stream.pix_fmt = sizes[0], "yuvj420p"
        for number, size in enumerate(sizes):
            packet = av.Packet(_jpeg(*size))
            packet.stream = stream
            packet.pts = packet.dts = number
            packet.time_base = Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    return str(path)


def _jpeg(width, height):
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 10)
    frame = av.VideoFrame(width, height, "yuvj420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts = 0
    return b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))
