"""Keeping parts of a model as they were loaded."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from tubedet.errors import UserError
from tubedet.layers import FrozenBatchNorm3d


def freeze_parameters(model: nn.Module, patterns: Iterable[str]) -> None:
    """Take parameters out of training, in place.

    Batch norms whose parameters are all frozen also keep their statistics.

    Args:
        model: not yet handed to an optimiser.
        patterns: of whole parameter names, such as "backbone.*".

    Raises:
        UserError: if a pattern fits no parameter.
    """
    for pattern in patterns:
        frozen = [p for name, p in model.named_parameters() if fnmatchcase(name, pattern)]
        if not frozen:
            raise UserError(f"MODEL.FREEZE: no parameter's name fits {pattern!r}")
        for parameter in frozen:
            parameter.requires_grad = False
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            is_norm = isinstance(child, (nn.BatchNorm3d, nn.SyncBatchNorm))
            if is_norm and not any(p.requires_grad for p in child.parameters()):
                setattr(module, name, FrozenBatchNorm3d.convert(child))
