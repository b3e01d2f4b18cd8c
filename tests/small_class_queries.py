"""Options of class-query detectors, and small ones all of whose weights are random."""

import torch
from detectron2.modeling import build_model

from tubedet.engine import load_config

NODE = "MODEL.CLASS_QUERY."
CSN = ["MODEL.CSN.OUT_FEATURES", ["res3", "res4", "res5"], "MODEL.CSN.LAST_STRIDE", False]
VIT = ["MODEL.BACKBONE.NAME", "build_vit_pyramid_backbone"]
SMALL = [f"{NODE}HIDDEN_DIM", 32, f"{NODE}NUM_HEADS", 4, f"{NODE}FEEDFORWARD_DIM", 16]
SMALL += [f"{NODE}ENC_LAYERS", 1, f"{NODE}ENC_POINTS", 2, f"{NODE}DEC_LAYERS", 2]
SMALL += ["INPUT.CLIP.NUM_FRAMES", 8, "MODEL.NUM_ACTIONS", 4, f"{NODE}NUM_QUERIES", 3]
SMALL += ["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", 32]
SMALL_CSN = [*CSN, "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, *SMALL]
SMALL_VIT = [*VIT, "MODEL.VIT.SIZE", "custom", "MODEL.VIT.WIDTH", 16, "MODEL.VIT.DEPTH", 2, *SMALL]
SMALL_VIT += ["MODEL.VIT.NUM_HEADS", 2, "MODEL.VIT.MLP_WIDTH", 32]
TUBE = [f"{NODE}FRAMES", "all"]


def model_of(*options, seed=0):
    """Build a class-query detector."""
    torch.manual_seed(seed)
    own = ["MODEL.META_ARCHITECTURE", "ClassQueryDetector"]
    model = build_model(load_config("", [*own, *options]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model
