"""Which files and addresses are opened as videos, and what they may open themselves.

FFmpeg takes a small text file of any name for a playlist or a session description, and opens the
files and addresses which it names. A video from a stranger could so show other files of this
computer, or ask its network for something. So containers that hold all of a video themselves are
opened, and nothing else; and a network stream is opened where somebody wrote its address.
"""

from __future__ import annotations

from tubedet.errors import UserError

# Containers and raw streams that refer to no other file.
_CONTAINERS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv"),
    *("asf", "ogg", "mxf", "gxf", "nut", "dv", "ivf", "h264", "hevc", "vvc", "av1", "obu", "m4v"),
    *("mjpeg", "yuv4mpegpipe", "rm", "wtv", "dhav", "gif", "apng"),
)
# Still images and sound are recognised, to be refused by their name.
_NO_VIDEOS = (
    *("image2", "png_pipe", "jpeg_pipe", "bmp_pipe", "webp_pipe", "tiff_pipe", "gif_pipe"),
    *("mp3", "wav", "flac", "aac", "aiff", "caf", "au", "ac3"),
)
# A stream in the network is announced by a list or a description that the network sends.
_STREAMS = ("hls", "dash", "rtsp", "rtp", "sdp", "mpjpeg")
_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt")
# What these are carried by. No file, and nothing that joins or cuts files.
_CARRIERS = ("tls", "httpproxy", "crypto", "hls")

# Of a file, with its sound, subtitles and fonts. FFmpeg takes up to a megabyte to look into each.
MAX_STREAMS = 256


def file_options() -> dict[str, str]:
    """Return options with which FFmpeg opens a file, and nothing that the file names."""
    return {
        "format_whitelist": ",".join((*_CONTAINERS, *_NO_VIDEOS)),
        "protocol_whitelist": "file",
        "max_streams": str(MAX_STREAMS),
    }


def url_options(url: str) -> dict[str, str]:
    """Return options with which FFmpeg opens an address, and no file of this computer.

    Args:
        url: such as ``rtsp://camera/1``.

    Raises:
        UserError: if it is none of a network stream.
    """
    if url.partition("://")[0].lower() not in _SCHEMES:
        raise UserError(
            f"{url}: not an address of a video; accepted are {', '.join(_SCHEMES)}, and paths of "
            "files"
        )
    return {
        "format_whitelist": ",".join((*_CONTAINERS, *_NO_VIDEOS, *_STREAMS)),
        "protocol_whitelist": ",".join((*_SCHEMES, *_CARRIERS)),
    }
