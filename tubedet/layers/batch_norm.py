"""Normalisation of 5-D feature maps."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.errors import UserError

# CSN was trained with this epsilon in Caffe2; 1e-5 changes logits by several units.
CSN_NORM_EPS = 1e-3


class FrozenBatchNorm3d(nn.Module):
    """Batch norm with fixed statistics and a fixed affine map, for (B, C, T, H, W) maps.

    All four vectors are buffers named as in :class:`torch.nn.BatchNorm3d`, so checkpoints of the
    two are interchangeable. The 2-D versions of detectron2 and torchvision reshape their vectors
    to four dimensions and go wrong on 5-D maps.

    Args:
        num_features: channels C.
        eps: added to the variance.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, num_features: int, eps: float = CSN_NORM_EPS):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` (B, C, T, H, W) with the stored statistics; same shape and dtype."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        scale = scale.to(x.dtype).view(1, -1, 1, 1, 1)
        return torch.addcmul(shift.to(x.dtype).view(1, -1, 1, 1, 1), x, scale)

    def extra_repr(self) -> str:
        """Return what a printed model shows."""
        return f"{self.num_features}, eps={self.eps}"

    @classmethod
    def convert(cls, module: nn.Module) -> nn.Module:
        """Replace every 3-D or synchronised batch norm in ``module`` by a frozen one.

        The vectors stay on their devices and in their precision.

        Returns:
            the module itself, or its replacement if it is a batch norm.
        """
        if isinstance(module, (nn.BatchNorm3d, nn.SyncBatchNorm)):
            frozen = cls(module.num_features, module.eps)
            for name in ("weight", "bias", "running_mean", "running_var"):
                setattr(frozen, name, getattr(module, name).detach().clone())
            return frozen
        for name, child in module.named_children():
            setattr(module, name, cls.convert(child))
        return module


class EvaluatedBatchNorm3d(nn.BatchNorm3d):
    """Batch norm with fixed statistics, in training too, and an affine map that is trained.

    As published for STMixer on a SlowOnly body, whose batches are too small for statistics.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` (B, C, T, H, W) with the stored statistics."""
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)


def get_norm_3d(name: str, num_features: int, eps: float = CSN_NORM_EPS) -> nn.Module:
    """Build the norm called ``name`` for C = ``num_features`` channels.

    Args:
        name: "BN" (statistics of the local batch), "FrozenBN", "SyncBN" (statistics of all
            processes; GPU only when there are several) or "GN" (of each clip, in 32 groups of
            channels).

    Raises:
        UserError: for any other name.
    """
    norms: dict[str, Callable[..., nn.Module]] = {
        "BN": nn.BatchNorm3d,
        "FrozenBN": FrozenBatchNorm3d,
        "SyncBN": nn.SyncBatchNorm,
        "GN": partial(nn.GroupNorm, 32),
    }
    if name not in norms:
        raise UserError(
            f"MODEL.CSN.NORM, MODEL.SLOWFAST.NORM or COLLAPSE_NORM is {name!r}; choose one of "
            f"{sorted(norms)}"
        )
    return norms[name](num_features, eps=eps)
