"""What changes the results of a model on videos, to tell runs apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from detectron2.config import CfgNode

from tubedet.engine.model_actions import actions_of_data
from tubedet.errors import UserError
from tubedet.files.urls import is_url
from tubedet.model_zoo import local_weights

# Of a config, what changes a result.
_SECTIONS = ("MODEL", "INPUT")
# What changes a result by rounding at most. The weights count by what is in the file.
_SPEED_ONLY = (
    "INPUT.CLIP.AUGMENT_ON_DEVICE",
    "MODEL.CSN.EXECUTION",
    "MODEL.CSN.TRITON",
    "MODEL.CUDA_GRAPHS",
    "MODEL.DEFORMABLE_TRITON",
    "MODEL.VIT.CHECKPOINTING",
    "MODEL.DEVICE",
    "MODEL.MEMORY.STORE",
    "MODEL.WEIGHTS",
)
# A hash of the names that the config gives to the actions; earlier versions had none.
ACTIONS = "actions of DATASETS.TEST"


def result_settings(cfg: CfgNode, **options: object) -> dict:
    """Everything that changes the results.

    Args:
        cfg: the config.
        options: further settings by name.

    Returns:
        dict: json object.

    Raises:
        OSError: if the weights cannot be read.
        UserError: if the config names no weights.
    """
    if not cfg.MODEL.WEIGHTS:
        raise UserError("MODEL.WEIGHTS is empty: without weights detections are meaningless")
    config = {section: cfg[section] for section in _SECTIONS}
    settings = {key: value for key, value in _flat(config) if key not in _SPEED_ONLY}
    actions = actions_of_data(cfg, cfg.DATASETS.TEST[:1])  # they decide the order of the columns
    names = json.dumps(actions[0]).encode() if actions else b""
    settings[ACTIONS] = hashlib.sha256(names).hexdigest()[:16] if actions else None
    settings["weights"] = fingerprint(local_weights(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS"))
    return {**settings, **options}


def fingerprint(weights: str) -> str:
    """Return what identifies weights, wherever they lie: a hash of a file, or a URL.

    Args:
        weights: path or URL; any other file will do, too.

    Raises:
        OSError: if the file cannot be read.
    """
    if is_url(weights):
        return weights
    with open(weights, "rb") as stream:
        return f"sha256 {_sha256(stream)}"


def _sha256(stream) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _flat(config: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
