"""Person boxes from the detection models of torchvision."""

from __future__ import annotations

import logging
import os

import numpy as np
import torch
import torchvision

from tubedet.checkpoint.safe_loading import load_checkpoint_file
from tubedet.errors import UserError

logger = logging.getLogger(__name__)

PREFIX = "torchvision:"
DOWNLOAD = "DEFAULT"
_PERSON = 1  # category of COCO
_LICENCE = (
    "licences: torchvision BSD-3-Clause; trained on COCO, whose annotations are CC BY 4.0 and "
    "whose pictures have the terms of Flickr; torchvision leaves it to you whether that allows "
    "your use"
)


def check_model_name(name: str) -> None:
    """Make sure that torchvision has a detection model.

    Args:
        name: of the model.

    Raises:
        UserError: if it has none of this name.
    """
    known = torchvision.models.list_models(module=torchvision.models.detection)
    if name not in known:
        raise UserError(f"torchvision has no detection model {name!r}; it has {', '.join(known)}")


class TorchvisionPersons:
    """Finds persons in a picture with a detection model of torchvision.

    Args:
        name: of the model, such as "fasterrcnn_resnet50_fpn_v2".
        weights: "DEFAULT": torchvision's own, which it downloads; or a file of a state dict. None:
            random ones.
        device: where it runs.

    Raises:
        UserError: if there is no such model, its weights cannot be fetched, or the file cannot be
            read or does not fit it.
        OSError: if there is no such file.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str | os.PathLike | None = None,
        device: str | torch.device = "cpu",
    ):
        check_model_name(name)
        if weights == DOWNLOAD:
            chosen = torchvision.models.get_model_weights(name)["DEFAULT"]
            logger.info(f"weights of {name}: {chosen.url}; {_LICENCE}")
            try:
                model = torchvision.models.get_model(name, weights=chosen)
            except (OSError, RuntimeError) as error:  # no connection; not what was expected
                reason = getattr(error, "reason", error)
                raise UserError(
                    f"the weights of torchvision's {name} cannot be fetched: {reason}; download "
                    f"{chosen.url} by hand and give --person-weights FILE"
                ) from error
        else:
            model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        if weights is not None and weights != DOWNLOAD:
            state = load_checkpoint_file(os.fspath(weights))["model"]
            try:
                model.load_state_dict(state)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[0]
                raise UserError(
                    f"{weights}: no weights of torchvision's {name}: {reason}"
                ) from error
        self.device = torch.device(device)
        self.model = model.eval().to(self.device)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Find persons.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            (n, 5) x1, y1, x2, y2 in pixels, and scores.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        with torch.inference_mode():
            (found,) = self.model([pixels.permute(2, 0, 1).float() / 255])
        persons = found["labels"] == _PERSON
        rows = torch.cat([found["boxes"][persons], found["scores"][persons, None]], dim=1)
        return rows.cpu().double().numpy()
