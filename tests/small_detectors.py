"""Detectors of every architecture that trace in seconds."""

import torch
from benchmarking.random_clips import random_batch
from detectron2.modeling import build_model
from random_norms import with_random_norms
from torch import nn

from tubedet.engine import load_config

TUBER = ["MODEL.TUBER.ENC_LAYERS", 1, "MODEL.TUBER.DEC_LAYERS", 2]
DEFORMABLE = ["MODEL.DEFORMABLE_TUBER.ENC_LAYERS", 1, "MODEL.DEFORMABLE_TUBER.DEC_LAYERS", 2]
SEQFORMER = ["MODEL.SEQFORMER.ENC_LAYERS", 1, "MODEL.SEQFORMER.DEC_LAYERS", 2]
STMIXER = ["MODEL.STMIXER.NUM_STAGES", 2]
TWO_LEVELS = ["MODEL.DEFORMABLE_TUBER.NUM_LEVELS", 3]
CLASS_QUERY = ["MODEL.CLASS_QUERY.ENC_LAYERS", 1, "MODEL.CLASS_QUERY.DEC_LAYERS", 2]
ALL_FRAMES = ["MODEL.CLASS_QUERY.FRAMES", "all"]
TUBELETS = ["MODEL.TUBER.QUERY_TYPE", "tubelet", "MODEL.EXCLUSIVE_ACTIONS", True]
ARCHITECTURES = {
    "TubeR": ("TubeR_toy", TUBER),
    "decode": ("TubeR_toy", [*TUBER, "MODEL.TUBER.TEMPORAL_POOLING", "decode"]),
    "tubelets": ("TubeR_toy", [*TUBER, *TUBELETS, "MODEL.TUBER.TEMPORAL_POOLING", "none"]),
    "persons": ("TubeR_toy", [*TUBER, "MODEL.PERSON_ONLY", True]),
    "D2": ("D2_TubeR_toy", [*DEFORMABLE, *TWO_LEVELS]),
    "two_stage": ("D2_TubeR_toy", [*DEFORMABLE, "MODEL.DEFORMABLE_TUBER.TWO_STAGE", True]),
    "D3": ("D3_TubeR_toy", [*DEFORMABLE, *TWO_LEVELS]),
    "D4": ("D4_TubeR_toy", [*DEFORMABLE, *TWO_LEVELS]),
    "SeqFormer": ("SeqFormer_toy", [*SEQFORMER, "MODEL.SEQFORMER.NUM_LEVELS", 3]),
    "SparseRCNN": ("Sparse_toy", ["MODEL.SPARSE_RCNN.NUM_STAGES", 2]),
    "ClassQuery": ("ClassQuery_toy", CLASS_QUERY),
    "ClassQueryTubes": ("ClassQuery_toy", [*CLASS_QUERY, *ALL_FRAMES]),
    "RoI": ("RoI_toy", []),
    "STMixer": ("STMixer_toy", STMIXER),
}
WITHOUT_DROPOUT = ["MODEL.SPARSE_RCNN.DROPOUT", 0.0, "MODEL.TUBER.ACTION_DROPOUT", 0.0]
for _node in ("TUBER", "DEFORMABLE_TUBER", "SEQFORMER", "CLASS_QUERY"):
    WITHOUT_DROPOUT += [f"MODEL.{_node}.DROPOUT", 0.0]
# Nor other random numbers.
WITHOUT_DROPOUT += ["MODEL.ROI_ACTION.JITTER_OUTWARD", (0.0, 0.0)]
WITHOUT_DROPOUT += ["MODEL.ROI_ACTION.JITTER_INWARD", (0.0, 0.0)]
# Those that find persons themselves; the others are given boxes.
QUERY_DETECTORS = [name for name in ARCHITECTURES if name != "RoI"]
# On a video ViT and its pyramid.
VIT_BLOCKS = ["MODEL.VIT.DEPTH", 2, "MODEL.VIT.WIDTH", 32, "MODEL.VIT.MLP_WIDTH", 64]
VIT_BODY = ["MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.VIT.SIZE", "custom"]
VIT_BODY += ["MODEL.VIT.NUM_HEADS", 4, "MODEL.VIT.PATCH_SIZE", 8, *VIT_BLOCKS]
# With the weights of these tests further stages would move all boxes out of the clip.
ONE_STAGE = ["MODEL.SPARSE_RCNN.NUM_STAGES", 1, "MODEL.SPARSE_RCNN.NUM_REG", 1]
ONE_STAGE += ["MODEL.SPARSE_RCNN.DYNAMIC_DIM", 16]
VIT_ARCHITECTURES = {
    "TubeR_ViT": ("TubeR_ViT_toy", [*TUBER, *VIT_BLOCKS]),
    "D2_ViT": ("D2_TubeR_ViT_toy", [*DEFORMABLE, *VIT_BLOCKS]),
    "D4_ViT": (
        "D2_TubeR_ViT_toy",
        [*DEFORMABLE, *VIT_BLOCKS, "MODEL.DEFORMABLE_TUBER.CONTEXT_ACTIONS", True],
    ),
    "SeqFormer_ViT": ("SeqFormer_ViT_toy", [*SEQFORMER, *VIT_BLOCKS]),
    "STMixer_ViT": ("STMixer_ViT_toy", [*STMIXER, *VIT_BLOCKS]),
    "SparseRCNN_ViT": ("Sparse_ViT_toy", [*ONE_STAGE, *VIT_BLOCKS]),
    "ClassQuery_ViT": ("ClassQuery_ViT_toy", [*CLASS_QUERY, *VIT_BLOCKS]),
}
# Given boxes on the body alone.
ROI_VIT = {"RoI_ViT": ("RoI_toy", VIT_BODY)}


class StridedBackbone(nn.Module):
    """One convolution for every map of another backbone, with that map's shape."""

    def __init__(self, backbone):
        super().__init__()
        self.size_divisibility = backbone.size_divisibility
        self.output_shape = backbone.output_shape
        self.maps = nn.ModuleDict()
        for name, shape in backbone.output_shape().items():
            steps = getattr(shape, "temporal_stride", None)
            stride = (steps or 1, shape.stride, shape.stride)
            self.maps[name] = nn.Conv3d(3, shape.channels, 1, stride)
        self.in_time = steps is not None

    def forward(self, x):
        maps = {name: conv(x) for name, conv in self.maps.items()}
        return maps if self.in_time else {name: x.mean(2) for name, x in maps.items()}


def with_varied_weights(model):
    """``model``, whose results differ between queries and clips, as they hardly do at the start."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, std=0.1)
        elif parameter.dim() == 2 and parameter.any():
            parameter.data *= 5
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.1)
    for name, parameter in model.named_parameters():
        if name.endswith("cls_norm2.weight"):  # a mean over channels makes little of it
            parameter.data *= 30
    return with_random_norms(model)


def small_config(name, opts=(), device="cpu"):
    """The config of a detector in one of the dictionaries above."""
    config, changes = {**ARCHITECTURES, **VIT_ARCHITECTURES, **ROI_VIT}[name]
    changes = ["MODEL.DEVICE", str(device), *changes, *opts]
    return load_config(f"configs/quick_schedules/{config}.yaml", changes)


def small_detector(name, *, own_backbone=True, opts=()):
    """The config of :func:`small_config` and its model with varied weights in evaluation mode."""
    cfg = small_config(name, opts)
    torch.manual_seed(3)
    model = build_model(cfg)
    if not own_backbone:
        model.backbone = StridedBackbone(model.backbone)
    return cfg, with_varied_weights(model).eval()


def small_batch(cfg, num_clips=2, *, with_persons=True):
    """Clips of 8x48x64 with three persons each, or none, for training with a small config."""
    actions = {"num_actions": cfg.MODEL.NUM_ACTIONS, "exclusive": cfg.MODEL.EXCLUSIVE_ACTIONS}
    batch = random_batch(num_clips, (8, 48, 64), **actions)
    if not with_persons:
        for clip in batch:
            clip["instances"] = clip["instances"][:0]
    return batch


def relative_difference(found, expected):
    """Norm of the difference, as a part of that of what is expected."""
    difference = (found.cpu().double() - expected.double()).norm()
    return (difference / expected.double().norm().clamp(min=1e-12)).item()
