"""What a user of an exported file must know about it; stored in the file as json."""

import torch
from detectron2.config import CfgNode
from torch import nn

import tubedet
from tubedet.data.clip_sampling import clip_spacing
from tubedet.inference import action_names_of

from .trace import MAX_BATCH, MAX_SIDE, MIN_SIDE, ClipShape, input_names


def deployment_record(cfg: CfgNode, shape: ClipShape, model: nn.Module | None = None) -> dict:
    """Describe an exported detector.

    Args:
        cfg: its config.
        shape: of the clips that it takes.
        model: it, with the names of the actions in its checkpoint.

    Returns:
        json content: ``architecture``; ``inputs``, names of the tensors that it takes;
        ``num_frames`` T, ``key_frame`` (slot of the key frame),
        ``frame_stride`` and ``frame_shift`` of :func:`~tubedet.data.clip_sampling.clip_offsets`,
        ``fps`` in which they count; ``batch`` and ``sides`` as [smallest, largest], or ``batch`` as
        a number and ``size`` as [H, W] where they are fixed; ``side_multiple``, of which free sides
        must be multiples; ``short_side`` and ``max_size`` in pixels, to which evaluation resizes a
        clip; ``device``, on which a ``torch_export`` file
        runs; ``action_names`` (A,); ``tubedet`` and ``torch`` (versions).
    """
    clip = cfg.INPUT.CLIP
    frame_stride, frame_shift = clip_spacing(
        num_frames=shape.num_frames,
        frame_stride=clip.FRAME_STRIDE,
        frame_shift=clip.FRAME_SHIFT,
        span=clip.SPAN,
    )
    sides = {"size": list(shape.size)} if shape.size else {"sides": [MIN_SIDE, MAX_SIDE]}
    return {
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "inputs": list(input_names(model)),
        "num_frames": shape.num_frames,
        "key_frame": shape.num_frames // 2,
        "frame_stride": frame_stride,
        "frame_shift": frame_shift,
        "fps": clip.FPS,
        "batch": shape.batch or [1, MAX_BATCH],
        **sides,
        "side_multiple": shape.multiple,
        "short_side": cfg.INPUT.MIN_SIZE_TEST,
        "max_size": cfg.INPUT.MAX_SIZE_TEST,
        "device": cfg.MODEL.DEVICE,
        "action_names": action_names_of(cfg, model),
        "tubedet": tubedet.__version__,
        "torch": torch.__version__,
    }
