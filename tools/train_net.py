#!/usr/bin/env python
"""Train or evaluate a config.

    python tools/train_net.py --config-file configs/quick_schedules/TubeR_toy.yaml
    python tools/train_net.py --config-file X --num-gpus 8
    python tools/train_net.py --config-file X --eval-only MODEL.WEIGHTS weights.pth

On a machine without a GPU ``--num-gpus N`` starts N CPU processes.
"""

import sys

import torch
from detectron2.engine import default_argument_parser, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm

import tubedet  # noqa: F401  (registers everything)
from tubedet.checkpoint import TubedetCheckpointer
from tubedet.engine import Trainer, setup_run


def main(args):
    """Run in every process."""
    cfg = setup_run(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        checkpointer = TubedetCheckpointer(
            model, cfg.OUTPUT_DIR, min_matched=cfg.MODEL.INIT.MIN_MATCHED
        )
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = Trainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    parser = default_argument_parser(epilog=__doc__)
    parser.set_defaults(dist_url="auto")
    args = parser.parse_args()
    if torch.cuda.is_available() and args.num_gpus > torch.cuda.device_count():
        sys.exit(f"--num-gpus {args.num_gpus}, but there are {torch.cuda.device_count()} GPUs")
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
