"""A web page on which a model can be tried on videos.

    pip install -e '.[web]'
    python tools/web_demo.py --config-file X MODEL.WEIGHTS w.pth
    tubedet web --model TubeR_CSN152_AVA21

Drop videos on the page at http://127.0.0.1:7860: it shows each annotated video and a timeline of
each person's actions, and hands out the detections as AVA csv and json lines. Videos are processed
one after another. Uploads and results are deleted after --keep-minutes, and all of them at the end.
With --example, visitors without a video can try a clip of yours.

Only this computer can open the page. --host 0.0.0.0 shows it to everybody in the network, or, with
--auth-token, to those who know the address that is printed.
"""

from __future__ import annotations

import argparse
import errno
import functools
import math
import secrets
import socket
import sys
from pathlib import Path

from tubedet.console_log import log_to_console
from tubedet.engine import check_started_once, load_config
from tubedet.engine.config_checks import check_model_config
from tubedet.errors import UserError
from tubedet.inference import VideoActionDetector, action_names_of
from tubedet.inference.device_faults import BrokenDeviceError
from tubedet.web.upload_checks import check_upload

from .arguments import add_config_arguments, add_detector_arguments, add_model_argument
from .running import print_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument(
        "--max-megabytes", type=float, default=100, help="largest upload (default: 100)"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=120, help="longest video (default: 120)"
    )
    parser.add_argument(
        "--keep-minutes", type=float, default=30, help="when files are deleted (default: 30)"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=60, help="longest work at a video (default: 60)"
    )
    parser.add_argument(
        "--example",
        type=Path,
        metavar="FILE",
        help="video that visitors can try at a press of a button",
    )
    parser.add_argument(
        "--auth-token",
        nargs="?",
        const="",
        metavar="TOKEN",
        help="let only those in who know it; without TOKEN one is made up and printed",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="further name under which the page is reached, as behind a proxy; repeatable",
    )
    add_detector_arguments(parser)
    add_model_argument(parser)
    add_config_arguments(parser, help="architecture and clip sampling", required=False)


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    for name in ("max_megabytes", "max_seconds", "keep_minutes", "max_minutes"):
        if not 0 < (value := getattr(options, name)) < math.inf:
            raise UserError(f"--{name.replace('_', '-')} must be a positive number, got {value}")
    if options.port is not None and not 1 <= options.port <= 65535:
        raise UserError(f"--port must be in [1, 65535], got {options.port}")
    token = options.auth_token
    if token and not (len(token) >= 16 and token.isascii() and token.isalnum()):
        raise UserError("--auth-token: expected at least 16 letters and digits")


def model_name(config_file: str) -> str:
    """Return what the page calls the model of a config.

    Args:
        config_file: its stem is the name, or the folder for the ``config.yaml`` of a training.
    """
    path = Path(config_file)
    return path.stem if path.name != "config.yaml" else path.absolute().parent.name or path.stem


def check_address(host: str, port: int | None) -> None:
    """Make sure that this computer can listen there, before a model is built.

    Args:
        host: name or address.
        port: None: any.

    Raises:
        UserError: if the address is not one of this computer, or the port is taken.
    """
    try:
        family, *_, place = socket.getaddrinfo(host.strip("[]"), port or 0)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except (socket.gaierror, UnicodeError) as error:  # a name with an empty part, or too long
        raise UserError(f"--host {host} is no address of this computer") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"--host {host} is no address of this computer") from error
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is taken; give another --port") from error
        raise UserError(f"--host {host}, --port {port}: {error.strerror}") from error


def main(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 1 if the GPU works no more, 2 on input that cannot be used.
    """
    try:
        from tubedet.web.page import make_page
        from tubedet.web.request_guard import is_local
        from tubedet.web.server import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError(
            "the page needs gradio: pip install 'tubedet[web]', or pip install gradio"
        ) from error
    _check_example(options)
    log_to_console()
    check_started_once()
    check_address(options.host, options.port)
    cfg = load_config(options.config_file, options.opts)
    check_model_config(cfg)
    if not cfg.MODEL.WEIGHTS:
        raise UserError("MODEL.WEIGHTS is empty: without weights detections are meaningless")
    faults: list[BrokenDeviceError] = []
    detector = VideoActionDetector(cfg, amp=options.amp, batch_size=options.batch_size)
    page = functools.partial(
        make_page,
        detector,
        action_names_of(cfg, detector.model),
        model_name=options.model or model_name(options.config_file),
        max_megabytes=options.max_megabytes,
        max_seconds=options.max_seconds,
        max_minutes=options.max_minutes,
        keep_seconds=60 * options.keep_minutes,
        on_broken=faults.append,
        example=options.example,
    )
    token = secrets.token_urlsafe(24) if options.auth_token == "" else options.auth_token
    if token is None and not is_local(options.host):
        print(
            f"WARNING: everybody who reaches {options.host} can use this page and this computer's "
            "time; --auth-token keeps others out",
            file=sys.stderr,
        )
    serve(
        page,
        host=options.host,
        port=options.port,
        max_megabytes=options.max_megabytes,
        keep_seconds=60 * options.keep_minutes,
        names=options.allowed_host,
        token=token,
        is_over=lambda: bool(faults),
    )
    if faults:  # every other visitor would meet the same
        print_error(f"{faults[0]}; start the page again", prog=options.prog)
        return 1
    return 0


def _check_example(options: argparse.Namespace) -> None:
    """Refuse an example that the page would refuse as an upload."""
    if options.example is None:
        return
    if not options.example.is_file():
        raise UserError(f"--example: {options.example} does not exist or is no file")
    try:
        check_upload(
            options.example, max_megabytes=options.max_megabytes, max_seconds=options.max_seconds
        )
    except (OSError, UserError) as error:
        raise UserError(f"--example: {error}") from error
