"""Draw the ground truth of a data set.

One png for each key frame as it is stored or, with --augmented, one mp4 for each clip as the
training loader makes it; there the key frame is held for a second with its boxes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tqdm
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode, Instances
from detectron2.utils.env import seed_all_rng

from tubedet.data import ClipDatasetMapper, ensure_registered
from tubedet.data.datasets.custom import check_actions, file_stem
from tubedet.data.device_augmentation import finish_clips
from tubedet.data.video.reader import VideoReaderCache, read_key_frame
from tubedet.engine import check_started_once, load_config
from tubedet.errors import UserError
from tubedet.inference.drawing import ActionVisualizer
from tubedet.inference.writers import VideoWriter

from .arguments import add_config_arguments, add_overwrite_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("--dataset", help="a registered name or a yaml (default: of the config)")
    parser.add_argument(
        "--split",
        choices=("train", "test"),
        default="train",
        help="DATASETS.TRAIN (default) or DATASETS.TEST",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("visualized_data"),
        help="folder for the drawings (default: visualized_data)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=20,
        help="key frames per data set, evenly spread (default: 20; 0: all)",
    )
    parser.add_argument("--augmented", action="store_true", help="clips as they are trained on")
    add_overwrite_argument(parser, help="replace earlier drawings")
    add_config_arguments(parser, help="which data sets, and how to augment")


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    if options.limit < 0:
        raise UserError(f"--limit must be at least 0, got {options.limit}")


def main(options: argparse.Namespace) -> int:
    """Draw, and say how many drawings there are.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 2 on a config or data set that cannot be drawn.
    """
    check_started_once()
    cfg = load_config(options.config_file, options.opts)
    seed_all_rng(cfg.SEED if cfg.SEED >= 0 else None)
    names = cfg.DATASETS.TRAIN if options.split == "train" else cfg.DATASETS.TEST
    for name in [options.dataset] if options.dataset else names:
        count = draw_data_set(name, cfg, options)
        print(f"{name}: {count} drawings in {options.output / file_stem(name)}")
    return 0


def draw_data_set(name: str, cfg: CfgNode, options: argparse.Namespace) -> int:
    """Draw the key frames of one data set.

    Args:
        name: registered name, or the yaml of a custom data set.
        cfg: the config; only used for augmented clips.
        options: of :func:`add_arguments`.

    Returns:
        int: number of drawings; less than the limit if the augmentation left some without a box.

    Raises:
        FileExistsError: if a drawing exists and may not be replaced.
    """
    ensure_registered(name)
    if options.augmented:
        check_actions(cfg, name)
    dicts = DatasetCatalog.get(name)
    if 0 < options.limit < len(dicts):
        chosen = np.linspace(0, len(dicts) - 1, options.limit).round().astype(int)
        dicts = [dicts[index] for index in chosen]
    visualizer = ActionVisualizer(MetadataCatalog.get(name).action_names)
    folder = options.output / file_stem(name)
    folder.mkdir(parents=True, exist_ok=True)
    draw = _draw_clips(cfg) if options.augmented else _draw_key_frames()
    suffix = ".mp4" if options.augmented else ".png"
    count = 0
    for record in tqdm.tqdm(dicts, name, unit="key frame"):
        path = folder / f"{_file_stem(record)}{suffix}"
        if path.exists() and not options.overwrite:
            raise FileExistsError(f"{path} exists already; use --overwrite or another --output")
        count += draw(path, record, visualizer)
    return count


def _draw_key_frames() -> Callable[[Path, dict, ActionVisualizer], bool]:
    readers = VideoReaderCache()

    def draw(path, record, visualizer):
        reader = readers.open(record["video"], folder_fps=record["fps"])
        frame = read_key_frame(reader, record)
        drawing = visualizer.draw_annotations(frame, record["annotations"])
        if not cv2.imwrite(str(path), cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR)):
            raise OSError(f"{path} could not be written")
        return True

    return draw


def _draw_clips(cfg: CfgNode) -> Callable[[Path, dict, ActionVisualizer], bool]:
    mapper = ClipDatasetMapper(cfg, is_train=True)
    fps = mapper.fps / mapper.frame_stride

    def draw(path, record, visualizer):
        mapped = mapper(record)
        if mapped is None:
            return False
        (mapped,) = finish_clips([mapped])
        frames = mapped["clip"].permute(1, 2, 3, 0).numpy()
        key = len(frames) // 2
        with VideoWriter(path, fps, overwrite=True) as writer:
            for index, frame in enumerate(frames):
                shown = _annotations(mapped["instances"], index, key)
                drawing = visualizer.draw_annotations(frame, shown)
                for _ in range(max(1, round(fps)) if index == key else 1):
                    writer.write(drawing)
        return True

    return draw


def _annotations(instances: Instances, index: int, key: int) -> list[dict]:
    """Return what frame ``index`` has; without tubes, frame ``key`` alone has something."""
    if instances.has("gt_tubes"):
        boxes = instances.gt_tubes[:, index]
    else:
        boxes = instances.gt_boxes.tensor[: len(instances) if index == key else 0]
    return [
        {
            "bbox": box.tolist(),
            "bbox_mode": BoxMode.XYXY_ABS,
            "actions": actions.nonzero().flatten().tolist(),
            "person_id": row,
        }
        for row, (box, actions) in enumerate(zip(boxes, instances.gt_actions))
        if box.isfinite().all()
    ]


def _file_stem(record: dict) -> str:
    """`video id`_`second`, 902 -> 0902 as in AVA, or _f`frame`; separators of folders replaced."""
    video = record["video_id"].replace("/", "_")
    if "frame_number" in record:
        return f"{video}_f{record['frame_number']:05d}"
    whole, _, fraction = f"{record['timestamp']:.3f}".rstrip("0").partition(".")
    return f"{video}_{whole:0>4}" + (f".{fraction}" if fraction else "")
