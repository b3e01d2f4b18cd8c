"""Weights that their authors have published, by name."""

from __future__ import annotations

import difflib
import os
import re

from tubedet.errors import UserError

from .release_table import RELEASES, ReleasedModel

# Config key -> the part of a model that its weights are for.
WEIGHT_KEYS = {
    "MODEL.WEIGHTS": "model",
    "MODEL.INIT.BACKBONE": "backbone",
    "MODEL.INIT.TRANSFORMER": "transformer",
}

_RELEASES = {release.name: release for release in RELEASES}


def released_models() -> list[ReleasedModel]:
    """List the weights that are known by name."""
    return list(_RELEASES.values())


def find_release(name: str, *, detector: bool = False) -> ReleasedModel:
    """Find published weights by name.

    Args:
        name: such as "TubeR_CSN152_AVA21".
        detector: accept whole detectors only, which have a config.

    Raises:
        UserError: if there are none of that name; the message names those that are alike.
    """
    release = _RELEASES.get(name)
    if release is None or (detector and release.config is None):
        fault = "is not the name of a released model"
        if release:
            is_whole = release.part == "model"
            fault = "has no config of its own here" if is_whole else "is not a whole detector"
        raise UserError(f"{name} {fault}; {_advice(name, detector)}")
    return release


def check_weights_name(source: str, key: str) -> None:
    """Check weights that are given by name, without fetching anything.

    A file or folder of that name goes before the released model.

    Args:
        source: name, path or URL.
        key: of :data:`WEIGHT_KEYS`, the config key that has this value.

    Raises:
        UserError: if the name is unknown, or its weights are for another key.
    """
    if not re.fullmatch(r"[\w-]+", source) or os.path.exists(source):
        return
    release = _RELEASES.get(source)
    if release is None:
        raise UserError(
            f"{key} {source} is neither a file nor the name of a released model; {_advice(source)}"
        )
    if release.part not in ("model", WEIGHT_KEYS[key]):
        right_key = next(key for key, part in WEIGHT_KEYS.items() if part == release.part)
        raise UserError(f"{key} {source}: these weights are for {right_key}")


def similar_names(name: str, *, detector: bool = False) -> list[str]:
    """List names of released models that are like another one, the closest first.

    Args:
        name: any text, such as a file name.
        detector: see :func:`find_release`.
    """
    by_lower_case = {
        release.name.lower(): release.name
        for release in _RELEASES.values()
        if release.config or not detector
    }
    return [by_lower_case[n] for n in difflib.get_close_matches(name.lower(), by_lower_case)]


def _advice(name: str, detector: bool = False) -> str:
    if alike := similar_names(name, detector=detector):
        return f"did you mean {' or '.join(alike)}?"
    known = [release.name for release in _RELEASES.values() if release.config or not detector]
    return f"known are {', '.join(known)}"
