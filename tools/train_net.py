#!/usr/bin/env python
"""Train or evaluate a config.

    python tools/train_net.py --config-file configs/quick_schedules/TubeR_toy.yaml
    python tools/train_net.py --config-file X --num-gpus 8 SOLVER.AMP.ENABLED True
    python tools/train_net.py --config-file X --eval-only MODEL.WEIGHTS weights.pth

On a machine without a GPU, --num-gpus N starts N CPU processes.
"""

from __future__ import annotations

import argparse
import sys

from tubedet.checkpoint import CheckpointError
from tubedet.engine import Trainer, argument_parser, launch_processes, setup_run


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    return argument_parser(__doc__).parse_args(arguments)


def main(args):
    """Run in every process."""
    cfg = setup_run(args)
    if args.eval_only:
        return Trainer.evaluate_weights(cfg, resume=args.resume)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    try:
        launch_processes(main, parse_arguments(), refusals=(CheckpointError,))
    except CheckpointError as error:
        sys.exit(f"train_net.py: error: {error}")
