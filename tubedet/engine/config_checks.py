"""What makes a config unusable, found before any work is done."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from fvcore.common.registry import Registry

from tubedet.data.clip_sampling import clip_offsets, clip_spacing
from tubedet.errors import UserError

from .data_checks import check_distinct_results, check_same_actions
from .evaluation_precision import evaluation_dtype
from .memory_checks import check_memory_config
from .monitoring_checks import check_monitoring

# The least values of these keys.
_MODEL_NUMBERS = {
    "INPUT.CLIP.NUM_FRAMES": 1,
    "INPUT.CLIP.FRAME_STRIDE": 1,
    "INPUT.CLIP.SPAN": 0,
    "INPUT.MIN_SIZE_TEST": 1,
    "INPUT.MAX_SIZE_TEST": 1,
    "MODEL.NUM_ACTIONS": 1,
}
_TRAINING_NUMBERS = {
    "SOLVER.MAX_ITER": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.CLIPS_PER_PASS": 0,
    "SOLVER.BASE_LR": 0,
    "SOLVER.WEIGHT_DECAY": 0,
    "DATALOADER.SIZE_GROUPING": 0,
    "TEST.EVAL_PERIOD": 0,
    "TEST.MAX_KEY_FRAMES": 0,
    "INPUT.MAX_SIZE_TRAIN": 1,
}
_CLIP_TYPES = ("full_model", "norm", "value")
_QUERIES = {
    "TubeR": "MODEL.TUBER.NUM_QUERIES",
    "DeformableTubeR": "MODEL.DEFORMABLE_TUBER.NUM_QUERIES",
    "SeqFormer": "MODEL.SEQFORMER.NUM_QUERIES",
    "SparseRCNN": "MODEL.SPARSE_RCNN.NUM_PROPOSALS",
    "STMixer": "MODEL.STMIXER.NUM_QUERIES",
}


def check_model_config(cfg: CfgNode) -> None:
    """Refuse a config of which no model can be built here.

    Args:
        cfg: the config.

    Raises:
        UserError: if it names an architecture, a backbone or a device that does not exist, or a
            number makes no sense.
    """
    _check_registered("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY)
    _check_registered("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY)
    if BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME).__module__.startswith("detectron2."):
        raise UserError(
            f"MODEL.BACKBONE.NAME is {cfg.MODEL.BACKBONE.NAME!r}, detectron2's for images; choose "
            "one for clips, such as build_csn_backbone or build_vit_backbone"
        )
    try:
        check_device(cfg.MODEL.DEVICE)
    except UserError as error:
        raise UserError(f"MODEL.DEVICE: {error}") from error
    for key, least in _MODEL_NUMBERS.items():
        _check_at_least(cfg, key, least)
    if queries := queries_key(cfg):
        _check_at_least(cfg, queries, 1)
    for key in ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"):
        _check_length(cfg, key, 3)
    if not cfg.INPUT.CLIP.FPS > 0:
        raise UserError(f"INPUT.CLIP.FPS is {cfg.INPUT.CLIP.FPS}; give a positive number")
    _check_span(cfg)


def check_run_config(cfg: CfgNode, *, num_processes: int, eval_only: bool) -> None:
    """Refuse a config with which no training or evaluation can start.

    Args:
        cfg: the config.
        num_processes: of all machines together.
        eval_only: whether nothing is trained.

    Raises:
        UserError: see :func:`check_model_config`; also if a data set does not exist, there is
            none, a model that is given boxes gets none, data sets have different actions or results
            of one name, a value of the training makes no sense, the clips of a batch cannot be
            shared among the processes, or evaluation has no such batch size or precision.
    """
    check_model_config(cfg)
    _check_at_least(cfg, "DATALOADER.NUM_WORKERS", 0)
    _check_data_sets("DATASETS.TEST", cfg.DATASETS.TEST)
    check_distinct_results(cfg.DATASETS.TEST)
    _check_at_least(cfg, "TEST.BATCH_SIZE", 1)
    evaluation_dtype(cfg.TEST.AMP, cfg.MODEL.DEVICE)
    trained = () if eval_only else cfg.DATASETS.TRAIN
    _check_data_sets("DATASETS.TRAIN", trained)
    if not cfg.MODEL.PERSON_ONLY:
        check_same_actions([*trained, *cfg.DATASETS.TEST])
    if cfg.MODEL.META_ARCHITECTURE == "RoIActionDetector":
        _check_given_boxes(cfg, eval_only=eval_only)
    check_memory_config(cfg)
    if eval_only:
        return
    if not cfg.DATASETS.TRAIN:
        raise UserError("DATASETS.TRAIN is empty; name a data set to train on")
    _check_training(cfg)
    check_monitoring(cfg)
    num_clips = cfg.SOLVER.IMS_PER_BATCH
    if num_clips < 1 or num_clips % num_processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {num_clips}; give a multiple of the number of processes, "
            f"{num_processes}"
        )


def queries_key(cfg: CfgNode) -> str | None:
    """Return the key that says how many persons the architecture finds; None: none of tubedet's.

    Args:
        cfg: the config.
    """
    return _QUERIES.get(cfg.MODEL.META_ARCHITECTURE)


def number_of(cfg: CfgNode, key: str) -> int:
    """Return the value of a key such as "MODEL.TUBER.NUM_QUERIES".

    Args:
        cfg: the config.
        key: with its nodes.
    """
    value = cfg
    for name in key.split("."):
        value = value[name]
    return value


def check_device(device: str | torch.device) -> None:
    """Refuse a device that this computer does not have.

    Args:
        device: such as "cpu" or "cuda:1".

    Raises:
        UserError: if there is no such device.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise UserError(
            f"device {device!r} is none of PyTorch's; give cpu, cuda or cuda:1"
        ) from error
    if wanted.type == "cuda":
        number = torch.cuda.device_count()
        if (wanted.index or 0) >= number:
            raise UserError(f"device {str(device)!r}: no such GPU, PyTorch sees {number}")
    elif wanted.type != "cpu":
        backend = getattr(torch, wanted.type, None)  # such as torch.xpu
        if not getattr(backend, "is_available", lambda: False)():
            raise UserError(f"device {str(device)!r}: PyTorch finds none here; give cpu or cuda")


def _check_span(cfg: CfgNode) -> None:
    """Refuse clips that end before their key frame or begin after it."""
    clip = cfg.INPUT.CLIP
    stride, shift = clip_spacing(
        num_frames=clip.NUM_FRAMES,
        frame_stride=clip.FRAME_STRIDE,
        frame_shift=clip.FRAME_SHIFT,
        span=clip.SPAN,
    )
    offsets = clip_offsets(clip.NUM_FRAMES, frame_stride=stride, frame_shift=shift)
    if not offsets[0] <= 0 <= offsets[-1]:
        raise UserError(
            f"INPUT.CLIP.FRAME_SHIFT is {clip.FRAME_SHIFT}: a clip has the frames {offsets[0]} to "
            f"{offsets[-1]}, counted from its key frame; give a smaller shift"
        )


def _check_training(cfg: CfgNode) -> None:
    for key, least in _TRAINING_NUMBERS.items():
        _check_at_least(cfg, key, least)
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":  # others count categories of images
        raise UserError(
            f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN!r}; key frames are drawn "
            "by TrainingSampler"
        )
    _check_length(cfg, "INPUT.CLIP.HSV_JITTER", 3)
    clip_type = cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE
    if cfg.SOLVER.CLIP_GRADIENTS.ENABLED and clip_type not in _CLIP_TYPES:
        raise UserError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clip_type!r}; choose one of {_CLIP_TYPES}"
        )
    if not 0 < cfg.SOLVER.LAYER_DECAY <= 1:
        raise UserError(
            f"SOLVER.LAYER_DECAY is {cfg.SOLVER.LAYER_DECAY}; give a number above 0, at most 1"
        )
    vit = cfg.MODEL.VIT
    if (
        cfg.SOLVER.CUDA_GRAPHS
        and cfg.MODEL.BACKBONE.NAME.startswith("build_vit")
        and vit.CHECKPOINTING
        and vit.DROP_PATH > 0
    ):
        raise UserError(
            "with SOLVER.CUDA_GRAPHS True, MODEL.VIT.CHECKPOINTING cannot draw the clips of "
            f"MODEL.VIT.DROP_PATH {vit.DROP_PATH:g} again; set one of the three False or 0"
        )
    for pair in cfg.SOLVER.LR_FACTORS:
        if not (
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and isinstance(pair[0], str)
            and isinstance(pair[1], (int, float))
        ):
            raise UserError(
                f"SOLVER.LR_FACTORS has {pair!r}; give pairs such as [['backbone.*', 0.1]]"
            )


def _check_given_boxes(cfg: CfgNode, *, eval_only: bool) -> None:
    """Refuse a run whose training or evaluation would have no boxes to classify."""
    datasets = cfg.DATASETS
    if datasets.TEST and not (datasets.PROPOSAL_FILES_TEST or cfg.TEST.GROUND_TRUTH_BOXES):
        raise UserError(
            "RoIActionDetector needs boxes to evaluate on: name a file for each data set in "
            "DATASETS.PROPOSAL_FILES_TEST, or set TEST.GROUND_TRUTH_BOXES True to classify the "
            "annotated boxes"
        )
    wants_files = cfg.MODEL.ROI_ACTION.TRAIN_ON_PROPOSALS
    if not eval_only and wants_files != bool(datasets.PROPOSAL_FILES_TRAIN):
        raise UserError(
            f"MODEL.ROI_ACTION.TRAIN_ON_PROPOSALS is {wants_files}, but "
            f"DATASETS.PROPOSAL_FILES_TRAIN is {datasets.PROPOSAL_FILES_TRAIN}; give both or none"
        )


def _check_length(cfg: CfgNode, key: str, length: int) -> None:
    value: Any = number_of(cfg, key)
    if len(value) != length:
        raise UserError(f"{key} is {value}; give {length} numbers")


def _check_registered(key: str, name: str, registry: Registry) -> None:
    if name not in registry:
        known = [known for known, _ in registry]
        raise UserError(f"{key} is {name!r}, which does not exist{_alike(name, known)}")


def _check_data_sets(key: str, names: Iterable[str]) -> None:
    known = DatasetCatalog.list()
    for name in names:
        if name not in known:
            raise UserError(
                f"{key}: there is no data set {name!r}{_alike(name, known)}; a custom data set is "
                "named by its yaml"
            )


def _check_at_least(cfg: CfgNode, key: str, least: int) -> None:
    value = number_of(cfg, key)
    if not value >= least:  # nor NaN
        raise UserError(f"{key} is {value}; give at least {least}")


def _alike(name: str, known: Iterable[str]) -> str:
    alike = difflib.get_close_matches(name, list(known))
    return f"; did you mean {' or '.join(alike)}?" if alike else ""
