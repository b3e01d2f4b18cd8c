"""Small video ViTs, and loading a file into what a detector has of a backbone."""

import torch
from torch import nn

from tubedet.checkpoint import TubedetCheckpointer
from tubedet.modeling.backbone.vit import ViT, ViTPyramid

TINY = {"width": 16, "depth": 2, "num_heads": 2, "mlp_width": 32}


def tiny(seed=0, **options):
    """A ViT all of whose weights are random."""
    torch.manual_seed(seed)
    vit = ViT(**{**TINY, **options})
    for parameter in vit.parameters():
        nn.init.normal_(parameter)
    return vit


def body(**options):
    return dict(tiny(5, **options).state_dict())


def model(seed=0, pyramid=False, **options):
    """What a detector has of a backbone."""
    vit = tiny(seed, **options)
    return nn.ModuleDict({"backbone": ViTPyramid(vit, 8) if pyramid else vit})


def load(module, content, path, **options):
    torch.save(content, path)
    checkpointer = TubedetCheckpointer(module, backbone=str(path), **options)
    checkpointer.resume_or_load("", resume=False)
    return checkpointer.report
