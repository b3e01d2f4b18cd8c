"""What should be said of a model wherever its detections are shown."""

from __future__ import annotations

from torch import nn

from tubedet.checkpoint.action_names import TRAINED_ON
from tubedet.engine.model_loading import HAS_RANDOM_WEIGHTS

_TOY = "ava_toy"
TOY_CAPTION = "toy model: for testing only"
RANDOM_CAPTION = "random weights: detections are meaningless"


def model_caption(model: nn.Module) -> str | None:
    """Return what should be said of a model wherever its detections are shown; None: nothing.

    Args:
        model: of :func:`tubedet.load_model`, which knows whether it had weights to load; its
            checkpoint may say what it was trained on.
    """
    if getattr(model, HAS_RANDOM_WEIGHTS, False):
        return RANDOM_CAPTION
    trained_on = getattr(model, TRAINED_ON, None) or ()
    is_toy = bool(trained_on) and all(name.startswith(_TOY) for name in trained_on)
    return TOY_CAPTION if is_toy else None
