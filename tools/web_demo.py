#!/usr/bin/env python
"""A web page on which a model can be tried on videos.

    pip install -e '.[web]'
    python tools/web_demo.py --config-file X MODEL.WEIGHTS w.pth

Drop a video on the page at http://127.0.0.1:7860: it shows the annotated video and a timeline of
each person's actions, and hands out the detections as AVA csv and json lines. Videos are processed
one after another. Uploads and results are deleted after --keep-minutes, and all of them at the end.

Only this computer can open the page. --host 0.0.0.0 shows it to everybody in the network; it has no
passwords.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
from pathlib import Path

import tubedet  # noqa: F401  (before the packages whose import-time notices it silences)

# isort: split
from detectron2.utils.logger import setup_logger

from tubedet.checkpoint import CheckpointError
from tubedet.engine import check_started_once, load_config
from tubedet.inference import VideoActionDetector, action_names_of


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="architecture and clip sampling")
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
    parser.add_argument("--batch-size", type=int, default=1, help="clips per forward pass")
    parser.add_argument("--amp", choices=("float16", "bfloat16"), help="mixed precision")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")
    options = parser.parse_args(arguments)
    for name in ("max_megabytes", "max_seconds", "keep_minutes"):
        if not 0 < (value := getattr(options, name)) < math.inf:
            parser.error(f"--{name.replace('_', '-')} must be a positive number, got {value}")
    if len(options.opts) % 2:
        parser.error(f"config keys and values must come in pairs, got {' '.join(options.opts)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Serves the page until Ctrl-C.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        int: exit status, 2 on input that cannot be used.
    """
    options = parse_arguments(arguments)
    try:
        from tubedet.web.page import make_page
        from tubedet.web.server import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        return _fail("the page needs gradio: pip install 'tubedet[web]', or pip install gradio")
    setup_logger(name="tubedet")
    try:
        check_started_once()
        cfg = load_config(options.config_file, options.opts)
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("MODEL.WEIGHTS is empty: without weights detections are meaningless")
        page = functools.partial(
            make_page,
            VideoActionDetector(cfg, amp=options.amp, batch_size=options.batch_size),
            action_names_of(cfg),
            max_megabytes=options.max_megabytes,
            max_seconds=options.max_seconds,
            keep_seconds=60 * options.keep_minutes,
        )
        serve(page, host=options.host, port=options.port, max_megabytes=options.max_megabytes)
    except (OSError, ValueError, KeyError, CheckpointError) as error:
        return _fail(error.args[0] if isinstance(error, KeyError) else error)
    return 0


def _fail(message: object) -> int:
    print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
