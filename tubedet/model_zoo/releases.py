"""Weights that their authors have published, by name."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass

from tubedet.errors import UserError


@dataclass(frozen=True)
class ReleasedModel:
    """A published file of weights.

    Attributes:
        name: of the file without its ending; ``MODEL.WEIGHTS`` and ``MODEL.INIT`` take it.
        url: of the file.
        part: "model" for a whole detector; "backbone" or "transformer" for weights that a training
            starts from, see ``MODEL.INIT``.
        data: what it was trained on.
        licence: what the publishing repository says.
        source: address of that repository.
        config: of a detector, a name for :func:`tubedet.model_zoo.get_config_file`.
        published: figure that its authors report.
        num_bytes: size of the file, if known.
    """

    name: str
    url: str
    part: str
    data: str
    licence: str
    source: str
    config: str | None = None
    published: str | None = None
    num_bytes: int | None = None


# Config key -> the part of a model that its weights are for.
WEIGHT_KEYS = {
    "MODEL.WEIGHTS": "model",
    "MODEL.INIT.BACKBONE": "backbone",
    "MODEL.INIT.TRANSFORMER": "transformer",
}

_TUBER = "https://github.com/amazon-science/tubelet-transformer"
_TUBER_FILES = "https://yzaws-data-log.s3.amazonaws.com/shared/TubeR_cvpr22/"


def _tuber(name: str, folder: str, published: str) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=f"{_TUBER_FILES}{name}.pth",
        part="model",
        data={"AVA21": "AVA v2.1", "AVA22": "AVA v2.2", "JHMDB": "JHMDB-21"}[name.split("_")[-1]],
        licence="Apache-2.0",
        source=_TUBER,
        config=f"{folder}/{name}.yaml",
        published=published,
    )


def _csn(name: str) -> ReleasedModel:
    return ReleasedModel(
        name=name,
        url=f"{_TUBER_FILES}{name}.mat",
        part="backbone",
        data="IG-65M, then Kinetics-400",
        licence="Apache-2.0",
        source="https://github.com/facebookresearch/VMZ",
    )


_RELEASES = {
    release.name: release
    for release in (
        _tuber("TubeR_CSN50_AVA21", "AVA", "frame-mAP@0.5 27.2"),
        _tuber("TubeR_CSN152_AVA21", "AVA", "frame-mAP@0.5 29.7"),
        _tuber("TubeR_CSN152_AVA22", "AVA", "frame-mAP@0.5 31.1"),
        _tuber("TubeR_CSN152_JHMDB", "JHMDB", "video-mAP@0.2 87.4, video-mAP@0.5 82.3"),
        _csn("irCSN_50_ft_kinetics_from_ig65m_f233743920"),
        _csn("irCSN_152_ft_kinetics_from_ig65m_f126851907"),
        ReleasedModel(
            name="detr-r50-e632da11",
            url="https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth",
            part="transformer",
            data="COCO",
            licence="Apache-2.0",
            source="https://github.com/facebookresearch/detr",
        ),
    )
}


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
        fault = "is not a whole detector" if release else "is not the name of a released model"
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
