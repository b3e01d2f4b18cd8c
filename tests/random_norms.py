"""Norms as after a long training, so that nothing they do is hidden."""

from torch import nn

from tubedet.layers import FrozenBatchNorm3d

NORMS = (nn.BatchNorm3d, nn.GroupNorm, FrozenBatchNorm3d)


def with_random_norms(module):
    """``module``, whose norms have got random weights, biases and running statistics."""
    for norm in module.modules():
        if isinstance(norm, NORMS):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
            if not isinstance(norm, nn.GroupNorm):
                nn.init.normal_(norm.running_mean, std=0.3)
                nn.init.uniform_(norm.running_var, 0.5, 2)
    return module
