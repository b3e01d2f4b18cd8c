"""What a training says at its end."""

from __future__ import annotations

import datetime
import math
import shlex
from pathlib import Path

from detectron2.config import CfgNode

from tubedet.checkpoint.checkpointer import BEST
from tubedet.engine.best_checkpoint import is_loss, read_record
from tubedet.engine.metrics_file import METRICS, evaluations

_MEAN = "mAP@"  # how the figures of a whole data set begin


def summary_of(cfg: CfgNode, *, num_iterations: int, seconds: float) -> str:
    """Return time, best and last figure of a training, and the commands that come next.

    Args:
        cfg: of the training; ``OUTPUT_DIR`` has its files.
        num_iterations: made in this run.
        seconds: that it took.

    Returns:
        lines.
    """
    folder = Path(cfg.OUTPUT_DIR)
    took = datetime.timedelta(seconds=round(seconds))
    lines = [f"{num_iterations} iterations in {took}; everything is in {folder}"]
    lines += _figures(cfg, folder)
    best, last = folder / f"{BEST}.pth", folder / "model_final.pth"
    is_best_kept = bool(cfg.TEST.BEST_METRIC) and best.is_file()
    weights = best if is_best_kept else last
    config = ["--config-file", str(folder / "config.yaml")]
    command = ["tubedet", "train", *config, "--eval-only", "MODEL.WEIGHTS"]
    if cfg.DATASETS.TEST:
        lines.append(f"evaluate: {shlex.join([*command, str(weights)])}")
        if is_best_kept and cfg.TEST.MAX_KEY_FRAMES > 0:
            # Of all key frames it may be the better one.
            lines.append(f"{last.name} was not among the samples that were compared:")
            lines.append(f"evaluate: {shlex.join([*command, str(last)])}")
    output = str(folder / "demo")
    demo = ["--input", "VIDEO", "--output", output, "--opts", "MODEL.WEIGHTS", str(weights)]
    lines.append(f"detect:   {shlex.join(['tubedet', 'demo', *config, *demo])}")
    return "\n  ".join(lines)


def _figures(cfg: CfgNode, folder: Path) -> list[str]:
    """Lines of the best and the last evaluation, by ``TEST.BEST_METRIC`` or the first mean AP."""
    found = list(evaluations(folder / METRICS))
    metric, record = cfg.TEST.BEST_METRIC, read_record(folder)
    if not metric:
        names = [name for _, figures in found for name in figures]
        metric = next((name for name in names if name.rpartition("/")[2].startswith(_MEAN)), "")
    values = [(figures[metric], iteration) for iteration, figures in found if metric in figures]
    values = [(value, iteration) for value, iteration in values if math.isfinite(value)]
    if not values:
        return []
    last, end = values[-1]
    is_sampled = cfg.TEST.MAX_KEY_FRAMES > 0 and len(values) > 1
    if is_sampled:  # the last one is of all key frames
        values.pop()
    best, at = (min if is_loss(metric) else max)(values, key=lambda pair: pair[0])
    if record.get("metric") == metric:
        best, at = record["value"], record["iteration"]
    # Evaluations on the way are recorded with the number of their iteration, which counts from 0.
    period = cfg.TEST.EVAL_PERIOD
    if period > 0 and (at + 1) % period == 0:
        at = min(at + 1, end)
    compared, whole = (" of samples", " of all key frames") if is_sampled else ("", "")
    return [
        f"{metric}: best{compared} {best:.2f} (after {at} iterations), last{whole} {last:.2f} "
        f"(after {end})"
    ]
