"""Train or evaluate a config.

    tubedet train --config-file configs/quick_schedules/TubeR_toy.yaml
    tubedet train --config-file X --num-gpus 8 SOLVER.AMP.ENABLED True
    tubedet train --config-file X OUTPUT_DIR auto
    tubedet train --config-file X --eval-only MODEL.WEIGHTS weights.pth
    tubedet train --model TubeR_CSN152_AVA21 --eval-only

On a machine without a GPU, or with MODEL.DEVICE cpu, --num-gpus N starts N CPU processes. torchrun,
srun and mpirun may start the processes as well:

    torchrun --nproc_per_node 8 tools/train_net.py --config-file X
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from tubedet.agreement import agreed_errors
from tubedet.engine import (
    Trainer,
    check_processes,
    fetch_start,
    keep_earlier_config,
    launch_processes,
    load_config,
    setup_run,
)
from tubedet.engine.config_checks import check_model_config, check_run_config
from tubedet.engine.config_loading import weight_sources
from tubedet.engine.data_checks import check_annotation_files
from tubedet.engine.launchers import num_started_processes
from tubedet.engine.numbered_folders import AUTO, latest_training, next_folder, with_numbered_folder
from tubedet.engine.output_folder import (
    check_new_training,
    check_resumed_training,
    files_to_overwrite,
    only_run_in,
    remove_training,
    results_of_training,
)
from tubedet.engine.start_checks import check_data_sets
from tubedet.errors import UserError
from tubedet.inference.evaluation_pictures import draw_evaluation

from .arguments import (
    add_config_arguments,
    add_model_argument,
    add_overwrite_argument,
    add_process_arguments,
)
from .training_summary import summary_of

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command, which are those of detectron2.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of OUTPUT_DIR"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS")
    add_overwrite_argument(
        parser, help="start anew where OUTPUT_DIR has a training, whose checkpoints are removed"
    )
    add_process_arguments(parser)
    add_model_argument(parser)
    add_config_arguments(parser, help="data sets, architecture and schedule", required=False)


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    if options.overwrite and (options.resume or options.eval_only):
        raise UserError("--overwrite goes with neither --resume nor --eval-only")
    if options.model is not None and not options.eval_only:
        raise UserError(
            "--model needs --eval-only; to train from released weights, give --config-file and "
            f"MODEL.WEIGHTS {options.model}"
        )


def main(options: argparse.Namespace) -> int:
    """Start the processes.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status.

    Raises:
        UserError: if the options, the config, the data or the weights cannot be used.
    """
    cfg = load_config(options.config_file, options.opts)  # every process reads it again
    is_alone = options.num_machines == 1 and num_started_processes() == 1
    if is_numbered := cfg.OUTPUT_DIR == AUTO:  # for the checks; the processes choose and make it
        cfg.OUTPUT_DIR = latest_training() if options.resume and is_alone else next_folder()
    check_model_config(cfg)
    check_processes(options, cfg.MODEL.DEVICE)
    num_processes = max(options.num_gpus * options.num_machines, num_started_processes())
    check_run_config(cfg, num_processes=num_processes, eval_only=options.eval_only)
    found = is_numbered or Path(cfg.OUTPUT_DIR, "last_checkpoint").is_file()
    goes_on = options.resume and found
    if options.eval_only and not cfg.MODEL.WEIGHTS and not goes_on:
        raise UserError(
            "--eval-only without MODEL.WEIGHTS would evaluate random weights; name a file or a "
            "released model, or add --resume where OUTPUT_DIR has a checkpoint"
        )
    check_data_sets(cfg, eval_only=options.eval_only, build_evaluator=Trainer.build_evaluator)
    if is_alone:  # others would wait in vain
        _check_folder(cfg, options)
        fetch_start(cfg, resume=options.resume, eval_only=options.eval_only)
    if not is_numbered:
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)  # where that fails it is said before they start
    launch_processes(run_process, options, cfg.MODEL.DEVICE)
    return 0


def run_process(options: argparse.Namespace) -> None:
    """Train or evaluate, in every process.

    Args:
        options: of :func:`add_arguments`.
    """
    options = with_numbered_folder(options)
    cfg = load_config(options.config_file, options.opts)
    with only_run_in(cfg.OUTPUT_DIR):
        with keep_earlier_config(options) as put_back:
            with agreed_errors():
                trained = () if options.eval_only else cfg.DATASETS.TRAIN
                check_annotation_files([*trained, *cfg.DATASETS.TEST])
                if comm.is_main_process():
                    _check_folder(cfg, options)
                earlier = files_to_overwrite(cfg.OUTPUT_DIR) if options.overwrite else []
                cfg = setup_run(options)
            fetch_start(cfg, resume=options.resume, eval_only=options.eval_only)
            if options.eval_only:
                try:
                    Trainer.evaluate_weights(cfg, resume=options.resume)
                finally:
                    if results_of_training(cfg.OUTPUT_DIR):
                        put_back()
                return
            trainer = Trainer(cfg, draw=draw_evaluation)
            trainer.resume_or_load(resume=options.resume)
            if trainer.is_complete():
                put_back()
                key, value = "SOLVER.MAX_ITER", trainer.max_iter
                if trainer.start_iter < trainer.max_iter:
                    key, value = "TEST.PATIENCE", cfg.TEST.PATIENCE
                logger.info(
                    f"nothing to do: {trainer.checkpointer.resumed_from} has {trainer.start_iter} "
                    f"iterations and {key} is {value}; raise {key} to train further, or add "
                    "--eval-only to evaluate"
                )
                return
            if comm.is_main_process():
                remove_training(earlier)
        started = time.perf_counter()
        trainer.train()
        if comm.is_main_process():
            num_iterations = trainer.iter - trainer.start_iter
            seconds = time.perf_counter() - started
            logger.info(summary_of(cfg, num_iterations=num_iterations, seconds=seconds))


def _check_folder(cfg: CfgNode, options: argparse.Namespace) -> None:
    if options.eval_only:
        return
    if options.resume:
        check_resumed_training(cfg.OUTPUT_DIR)
        return
    check_new_training(
        cfg.OUTPUT_DIR, overwrite=options.overwrite, weights=weight_sources(cfg).values()
    )
