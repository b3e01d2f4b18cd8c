"""Training and evaluation of any config on detectron2's DefaultTrainer."""

import logging
import os
import weakref

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import (
    MetadataCatalog,
    build_detection_train_loader,
)
from detectron2.engine import DefaultTrainer, TrainerBase, hooks
from detectron2.evaluation import verify_results
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage, JSONWriter, TensorboardXWriter
from torch import nn

from tubedet.agreement import agreed_errors, of_main_process
from tubedet.checkpoint import TubedetCheckpointer
from tubedet.checkpoint.action_names import TRAINED_ON
from tubedet.checkpoint.safe_loading import AVERAGED
from tubedet.data import ClipDatasetMapper
from tubedet.data.datasets.custom import check_actions
from tubedet.data.device_transfer import DevicePrefetcher
from tubedet.data.loading import build_test_loader, with_single_threaded_workers
from tubedet.data.resumed_sampling import go_on_behind, with_resumable_order
from tubedet.data.size_groups import SizeGroupedBatches
from tubedet.errors import UserError
from tubedet.evaluation import ActionTubeEvaluator, AVAEvaluator
from tubedet.files.full_disks import full_disk_told_once
from tubedet.modeling import prepare_for_inference

from .best_checkpoint import BestWeights, EarlyStopping, TrainingEnds
from .config_checks import number_of, queries_key
from .data_checks import warn_of_crowds, warn_of_mirrored_actions
from .dataset_lists import evenly_sampled, read_key_frames
from .evaluation_pictures import Draw, put_pictures
from .evaluation_precision import EvaluatedModel, evaluation_dtype, training_dtype
from .experiment_trackers import build_tracker
from .freezing import freeze_parameters
from .lr_schedule import build_lr_scheduler
from .memory_checks import check_memory_store
from .metrics_file import METRICS, WrittenEvaluation, forget_iterations, has_evaluation
from .model_actions import checkpointed_actions
from .model_loading import build_checkpointer
from .optimizer import build_optimizer, max_gradient_norm
from .progress_printer import ProgressPrinter
from .step_trainer import StepTrainer, distributed_model
from .validation_loss import add_validation_losses
from .weight_average import WeightAverage

_logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """detectron2's trainer with tubedet's data, optimiser, checkpoints and evaluator.

    Works on GPUs and, over gloo, in several CPU processes.

    Args:
        cfg: frozen config of the run.
        draw: what draws the key frames of ``TEST.PICTURES``, as
            :func:`tubedet.inference.evaluation_pictures.draw_evaluation` does; None: no pictures.

    Attributes:
        average: the moving average of the weights (``SOLVER.EMA``), which is evaluated instead of
            the model and saved beside it; None without one.
        best: knows the best evaluation so far (``TEST.BEST_METRIC``); None without such a key.

    Raises:
        UserError: for a precision or a data set's evaluator that does not exist.
    """

    def __init__(self, cfg: CfgNode, *, draw: Draw | None = None):
        # DefaultTrainer's own constructor cannot be used: it passes GPU ids to DDP on CPUs too
        # and fixes the checkpointer's class.
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        with agreed_errors():
            for name in cfg.DATASETS.TEST:  # what cannot be evaluated should not cost a training
                check_actions(cfg, name)
                self.build_evaluator(cfg, name)
            model = self.build_model(cfg)
            optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        device_type = torch.device(cfg.MODEL.DEVICE).type
        model = distributed_model(model)
        with agreed_errors():
            self._trainer = StepTrainer(
                model,
                data_loader,
                optimizer,
                device_type=device_type,
                amp_dtype=training_dtype(cfg),
                max_grad_norm=max_gradient_norm(cfg),
                clips_per_pass=cfg.SOLVER.CLIPS_PER_PASS,
            )
            self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        states = {"trainer": weakref.proxy(self)}
        self.average = None
        if cfg.SOLVER.EMA.ENABLED:
            self.average = states[AVERAGED] = WeightAverage(model, cfg.SOLVER.EMA.DECAY)
            self.register_hooks([self.average])
        states |= checkpointed_actions(cfg, [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
        states[TRAINED_ON] = cfg.DATASETS.TRAIN
        self.checkpointer = build_checkpointer(cfg, model, cfg.OUTPUT_DIR, **states)
        self.start_iter = 0
        self._clips_before = 0  # of the training that is resumed
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self._draw = draw
        self.best = BestWeights.of_config(cfg, self.checkpointer)
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint of ``OUTPUT_DIR``, or start from ``MODEL.WEIGHTS``.

        Learning rates, their schedule and weight decay are those of the config. All processes do
        the same, see :meth:`TubedetCheckpointer.resume_or_load`.

        A training that was killed after its last step gets the ``model_final.pth`` that it lacks.

        Args:
            resume: go on if there is a checkpoint.
        """
        rest = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if self.checkpointer.resumed_from:
            self.start_iter = self.iter + 1
            if AVERAGED in rest:
                _logger.info("SOLVER.EMA is off: the average of the checkpoint is not kept")
            elif self.average is not None and not self.average.is_started:
                _logger.info("SOLVER.EMA is on: its average starts with the weights of now")
            groups = self._trainer.optimizer.param_groups
            self.scheduler.base_lrs = [group["initial_lr"] for group in groups]
            for group, rate in zip(groups, self.scheduler.get_lr()):
                group["lr"] = rate
            self._go_on_with_data()
            is_final = os.path.basename(self.checkpointer.resumed_from) == "model_final.pth"
            if self.start_iter == self.max_iter and not is_final:
                self.checkpointer.save("model_final", iteration=self.iter)
        check_memory_store(self.cfg, self._trainer.model)
        if resume and comm.is_main_process():  # what is computed again is written again
            first = self.start_iter if self.checkpointer.resumed_from else -1
            forget_iterations(os.path.join(self.cfg.OUTPUT_DIR, METRICS), first)
        if self.checkpointer.resumed_from and self.best is not None:
            self.best.resume()

    def is_complete(self) -> bool:
        """Whether a resumed training has nothing left to do; all processes call it together.

        It has if it was ended during its last evaluation. One that ended early has nothing to do
        unless ``TEST.PATIENCE`` grows.
        """
        if self.best is not None and self.best.is_exhausted:
            return True
        if self.start_iter < self.max_iter:
            return False
        metrics = os.path.join(self.cfg.OUTPUT_DIR, METRICS)
        is_evaluated = not self.cfg.DATASETS.TEST or has_evaluation(metrics, self.start_iter)
        return of_main_process(is_evaluated) or self.start_iter > self.max_iter

    def train(self) -> dict | None:
        """Train, and evaluate at the end; only that if the last iteration is reached already.

        Returns:
            the figures if ``TEST.EXPECTED_RESULTS`` asks for some.
        """
        with full_disk_told_once(self.cfg.OUTPUT_DIR):
            if self.start_iter < self.max_iter:
                try:
                    return super().train()
                except TrainingEnds:
                    return None
            self.iter = self.max_iter
            with EventStorage(self.max_iter) as self.storage:
                for hook in self._hooks:
                    if isinstance(hook, (hooks.EvalHook, BestWeights, hooks.PeriodicWriter)):
                        hook.after_train()
        self._end_prefetching()
        return None

    def _go_on_with_data(self) -> None:
        """Go on behind the clips of the run before, with other random numbers than it began with.

        Without a fixed ``SEED`` the order is another one in every run.
        """
        seed, loader = self.cfg.SEED, self._trainer.data_loader
        if seed >= 0 and isinstance(loader, DevicePrefetcher):
            go_on_behind(loader.loader, self._clips_before)
            sequence = np.random.SeedSequence([seed, comm.get_rank(), self.start_iter])
            seed_all_rng(int(sequence.generate_state(1)[0]))

    def state_dict(self) -> dict:
        """Return what a resumed training needs, with the number of clips of all processes."""
        num_iterations = self.iter + 1 - self.start_iter
        clips = self._clips_before + num_iterations * self.cfg.SOLVER.IMS_PER_BATCH
        return {**super().state_dict(), "clips": clips}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the state of a training.

        Args:
            state_dict: as :meth:`state_dict` returned it; earlier ones have no number of clips.
        """
        super().load_state_dict(state_dict)
        by_iterations = (self.iter + 1) * self.cfg.SOLVER.IMS_PER_BATCH
        self._clips_before = state_dict.get("clips", by_iterations)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build and freeze as the config says; the parts are not logged, only the size."""
        model = build_model(cfg)
        freeze_parameters(model, cfg.MODEL.FREEZE)
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        _logger.info(f"{cfg.MODEL.META_ARCHITECTURE}: {total:,} parameters, {trainable:,} train")
        return model

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        """See :func:`tubedet.engine.lr_schedule.build_lr_scheduler`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """See :func:`tubedet.engine.optimizer.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        """Endless batches of augmented clips, on the model's device."""
        key_frames = read_key_frames(cfg, cfg.DATASETS.TRAIN, is_train=True)
        if comm.is_main_process():
            warn_of_mirrored_actions(cfg, cfg.DATASETS.TRAIN)
            if key := queries_key(cfg):
                numbers = [len(key_frame["annotations"]) for key_frame in key_frames]
                warn_of_crowds(numbers, num_queries=number_of(cfg, key), key=key)
        mapper = ClipDatasetMapper(cfg, is_train=True)
        unit = cfg.DATALOADER.SIZE_GROUPING
        loader = build_detection_train_loader(
            cfg,
            mapper=mapper,
            dataset=key_frames,
            aspect_ratio_grouping=unit > 0 or cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        )
        if unit > 0:
            loader = SizeGroupedBatches(loader.dataset, loader.batch_size, unit=unit)
        loader = with_single_threaded_workers(loader)
        loader = with_resumable_order(loader, key_frames, mapper.clip_size)
        return DevicePrefetcher(loader, cfg.MODEL.DEVICE)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str, *, annotated: bool = False):
        """Every key frame of a data set once, shared among the processes, on the device.

        With ``TEST.MAX_KEY_FRAMES``, a sample of them; ``annotated``: with their ``instances``.
        """
        key_frames = read_key_frames(cfg, [dataset_name], is_train=False)
        if 0 < cfg.TEST.MAX_KEY_FRAMES < len(key_frames):
            _logger.info(
                f"{dataset_name}: evaluation of {cfg.TEST.MAX_KEY_FRAMES} of {len(key_frames)} key "
                "frames, evenly over the data set (TEST.MAX_KEY_FRAMES)"
            )
            key_frames = evenly_sampled(key_frames, cfg.TEST.MAX_KEY_FRAMES)
        loader = build_test_loader(
            key_frames,
            mapper=ClipDatasetMapper(cfg, is_train=False, annotated=annotated),
            batch_size=cfg.TEST.BATCH_SIZE,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
        return DevicePrefetcher(loader, cfg.MODEL.DEVICE)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str):
        """Return the evaluator that the data set's metadata names.

        With ``TEST.MAX_KEY_FRAMES``, it writes no files: those are of whole data sets.
        """
        evaluator_type = MetadataCatalog.get(dataset_name).get("evaluator_type")
        sampled = cfg.TEST.MAX_KEY_FRAMES > 0
        output_dir = None if sampled else os.path.join(cfg.OUTPUT_DIR, "inference")
        if evaluator_type == "ava":
            return AVAEvaluator(
                dataset_name,
                output_dir,
                protocol=cfg.TEST.AVA_PROTOCOL,
                person_only=cfg.MODEL.PERSON_ONLY,
                sampled=sampled,
            )
        if evaluator_type == "action_tubes":
            return ActionTubeEvaluator(
                dataset_name,
                output_dir,
                protocol=cfg.TEST.TUBE_PROTOCOL,
                tube_classes=cfg.TEST.TUBE_CLASSES,
                tube_person_thresh=cfg.TEST.TUBE_PERSON_THRESH,
                sampled=sampled,
            )
        raise UserError(f"data set {dataset_name!r}: no evaluator for {evaluator_type!r}")

    @classmethod
    def evaluate_weights(cls, cfg: CfgNode, resume: bool = False) -> dict:
        """Build the model, load ``MODEL.WEIGHTS`` and evaluate, without training.

        Args:
            cfg: frozen config of the run.
            resume: load the last checkpoint of ``OUTPUT_DIR`` instead, if there is one.

        Returns:
            the figures of ``DATASETS.TEST``; empty on all but the main process.
        """
        cfg = _with_all_key_frames(cfg)
        with agreed_errors():  # what cannot be evaluated should not cost the evaluation of others
            evaluators = [cls.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST]
        model = cls.build_model(cfg)
        checkpointer = TubedetCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            min_matched=cfg.MODEL.INIT.MIN_MATCHED,
            for_training=False,
            **checkpointed_actions(cfg, cfg.DATASETS.TEST),
        )
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        check_memory_store(cfg, model, eval_only=True)
        results = cls.test(cfg, model, evaluators)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators=None) -> dict:
        """Evaluate on ``DATASETS.TEST``, with the same model, prepared for it, in every process.

        Batch-norm statistics drift apart in processes that train, so those of the main process,
        which are the ones in checkpoints, go to all.
        """
        if comm.get_world_size() > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)
        dtype = evaluation_dtype(cfg.TEST.AMP, cfg.MODEL.DEVICE)
        evaluated = EvaluatedModel(prepare_for_inference(model, dtype), dtype)
        return super().test(cfg, evaluated, evaluators)

    def build_hooks(self) -> list:
        """detectron2's, and those of the best weights; the moving average is what is evaluated."""
        usual = super().build_hooks()
        writers = [hook for hook in usual if isinstance(hook, hooks.PeriodicWriter)]

        def of_evaluations() -> list:
            """Return the files of figures; the console gets them in another form."""
            found = [writer for hook in writers for writer in hook._writers]
            return [writer for writer in found if not isinstance(writer, ProgressPrinter)]

        changed: list = []
        for hook in usual:
            if not isinstance(hook, hooks.EvalHook):
                changed.append(hook)
                continue
            period, is_whole = self.cfg.TEST.EVAL_PERIOD, self.cfg.TEST.MAX_KEY_FRAMES == 0
            changed += [WrittenEvaluation(period, self._evaluate, of_evaluations, is_whole)]
            changed += [self.best] if self.best is not None else []
        changed.append(hooks.CallbackHook(after_train=lambda _: self._end_prefetching()))
        return [*changed, EarlyStopping(self.best)] if self.best is not None else changed

    def _end_prefetching(self) -> None:
        loader = self._trainer.data_loader
        if isinstance(loader, DevicePrefetcher):
            loader.close()

    def _evaluate(self) -> dict:
        model = self.model if self.average is None else self.average.module
        at_end = self.iter + 1 >= self.max_iter
        cfg = _with_all_key_frames(self.cfg) if at_end else self.cfg
        self._last_eval_results = results = self.test(cfg, model)
        if cfg.TEST.VALIDATION_LOSS:
            add_validation_losses(results, cfg, model, self.build_test_loader)
        if cfg.TEST.PICTURES and self._draw is not None:
            put_pictures(cfg, model, self._draw)
        return results

    def build_writers(self):
        """Return a short console line, ``metrics.json``, TensorBoard and ``TRACKER``."""
        tracker = build_tracker(self.cfg)
        return [
            ProgressPrinter(self.max_iter),
            JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, METRICS)),
            TensorboardXWriter(self.cfg.OUTPUT_DIR),
            *([] if tracker is None else [tracker]),
        ]


def _with_all_key_frames(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.MAX_KEY_FRAMES = 0
    return cfg
