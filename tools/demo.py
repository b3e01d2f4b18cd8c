#!/usr/bin/env python
"""Detect actions in a video and draw them.

    python tools/demo.py --config-file X --video-input in.mp4 --output out.mp4 MODEL.WEIGHTS w.pth

Writes a video with as many frames as the input has, at its frame rate. Each frame shows what was
detected at the nearest key frame. --predictions writes the detections of the key frames as AVA rows
"video_id,timestamp,x1,y1,x2,y2,action_id,score" without any threshold: the video id is the name of
the file without its suffix, the timestamp counts from its first frame, boxes are fractions of the
frame. Both files appear when they are complete, in place of an older one.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import sys
from pathlib import Path
from typing import TextIO

import tubedet  # noqa: F401  (before the packages whose import-time notices it silences)

# isort: split
import numpy as np
import tqdm
from av.error import FFmpegError
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger

from tubedet.checkpoint import CheckpointError
from tubedet.data.video_file import VideoFileReader
from tubedet.engine import VideoActionDetector, load_config
from tubedet.evaluation.prediction_csv import write_prediction_rows
from tubedet.evaluation.report import open_whole
from tubedet.visualization import ActionVisualizer, VideoWriter

logger = logging.getLogger("tubedet.demo")


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
    parser.add_argument("--video-input", required=True, type=Path, help="video file to look at")
    parser.add_argument("--output", required=True, type=Path, help="video file to write")
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        default=0.5,
        help="lowest score of an action that is drawn (default: 0.5)",
    )
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds between key frames (default: 1)"
    )
    parser.add_argument("--predictions", type=Path, help="csv file to write")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")
    options = parser.parse_args(arguments)
    if not 0 < options.every < float("inf"):
        parser.error(f"--every must be a positive number of seconds, got {options.every}")
    if len(options.opts) % 2:
        parser.error(f"config keys and values must come in pairs, got {' '.join(options.opts)}")
    outputs = [options.output] + ([options.predictions] if options.predictions else [])
    for one, other in itertools.combinations([options.video_input, *outputs], 2):
        if _is_same_file(one, other):
            parser.error(f"{one} and {other} are the same file")
    for path in outputs:
        if path.is_dir():
            parser.error(f"{path} is a folder, not a file to write")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Detects, draws and writes.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        int: exit status, 2 on input that cannot be used.
    """
    options = parse_arguments(arguments)
    setup_logger(name="tubedet")
    try:
        cfg = load_config(options.config_file, options.opts)
        draw_video(cfg, options)
    except (OSError, ValueError, KeyError, FFmpegError, CheckpointError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
        return 2
    return 0


def draw_video(cfg: CfgNode, options: argparse.Namespace) -> None:
    """Writes the video with its detections and, if wanted, the predictions.

    Args:
        cfg: the config of the model.
        options: see :func:`parse_arguments`.

    Raises:
        VideoError: if the input cannot be read or holds no frame.
        OSError, ValueError: if an output cannot be written.
    """
    with VideoFileReader(options.video_input) as reader:
        rate, num_frames = reader.rate, reader.num_frames
    if not cfg.MODEL.WEIGHTS:
        logger.warning("MODEL.WEIGHTS is empty: the weights are random and detections meaningless")
    detector = VideoActionDetector(cfg)
    visualizer = ActionVisualizer(action_names(cfg))
    with contextlib.ExitStack() as stack:
        rows = None
        if options.predictions:
            options.predictions.parent.mkdir(parents=True, exist_ok=True)
            rows = stack.enter_context(open_whole(options.predictions))
        writer = stack.enter_context(VideoWriter(options.output, rate, overwrite=True))
        frames = detector(options.video_input, every=options.every)
        written_time = None
        for frame in tqdm.tqdm(frames, options.video_input.name, num_frames, unit="frame"):
            drawing = visualizer.draw_detections(
                frame.image, frame.instances, score_threshold=options.confidence_threshold
            )
            writer.write(drawing)
            if rows and frame.key_time != written_time:
                written_time = frame.key_time
                write_predictions(rows, options.video_input.stem, frame.key_time, frame.instances)
    logger.info(f"{writer.num_frames} frames are in {options.output}")


def action_names(cfg: CfgNode) -> list[str]:
    """Names of the model's actions.

    Args:
        cfg: ``DATASETS.TEST`` names the data set whose metadata are asked; it is not read.

    Returns:
        ``MODEL.NUM_ACTIONS`` names; "action 1" and so on where the data set has other actions.
    """
    num_actions = cfg.MODEL.NUM_ACTIONS
    for name in cfg.DATASETS.TEST[:1]:
        names = MetadataCatalog.get(name).get("action_names", [])
        if len(names) == num_actions:
            return list(names)
    return [f"action {number}" for number in range(1, num_actions + 1)]


def write_predictions(stream: TextIO, video_id: str, key_time: float, instances: Instances) -> None:
    """Writes the rows of one key frame: every action of every person with a score above 0.

    Args:
        stream: csv file.
        video_id: first column.
        key_time: second column, seconds.
        instances: ``pred_boxes`` (Q, 4) XYXY in pixels of ``image_size`` and ``action_scores``
            (Q, A); column k has action id k + 1. Rows that are not finite are left out.
    """
    height, width = instances.image_size
    boxes = instances.pred_boxes.tensor.double().numpy() / (width, height, width, height)
    scores = instances.action_scores.float().numpy()
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)
    action_ids = range(1, scores.shape[1] + 1)
    write_prediction_rows(stream, video_id, key_time, boxes[finite], scores[finite], action_ids)


def _is_same_file(one: Path, other: Path) -> bool:
    # File systems may ignore case, which resolve() does not notice.
    existing = one.exists() and other.exists()
    return one.resolve() == other.resolve() or (existing and one.samefile(other))


if __name__ == "__main__":
    sys.exit(main())
