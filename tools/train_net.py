#!/usr/bin/env python
"""Train or evaluate a config.

    python tools/train_net.py --config-file configs/quick_schedules/TubeR_toy.yaml
    python tools/train_net.py --config-file X --num-gpus 8 SOLVER.AMP.ENABLED True
    python tools/train_net.py --config-file X --eval-only MODEL.WEIGHTS weights.pth

On a machine without a GPU, --num-gpus N starts N CPU processes. torchrun may start the processes
as well: torchrun --nproc_per_node 8 tools/train_net.py --config-file X
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tubedet.checkpoint import CheckpointError
from tubedet.engine import (
    Trainer,
    argument_parser,
    check_processes,
    launch_processes,
    load_config,
    setup_run,
)


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


def run(arguments: list[str] | None = None) -> int:
    """Start the processes.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        exit status, 2 on a command line, config or weights that cannot be used.
    """
    args = parse_arguments(arguments)
    try:
        check_processes(args)
        load_config(args.config_file, args.opts)  # every process reads it again
    except (OSError, ValueError, KeyError) as error:
        return _fail(error.args[0] if isinstance(error, KeyError) else error)
    try:
        launch_processes(main, args, refusals=(CheckpointError,))
    except CheckpointError as error:
        return _fail(error)
    return 0


def _fail(message: object) -> int:
    print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(run())
