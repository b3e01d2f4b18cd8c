import pytest
import torch
from reference_cases import FIXTURES, LARGE, ReferenceCase

from tubedet.checkpoint import CheckpointError, to_tubedet_names, to_tuber_names


@pytest.mark.parametrize("name", ["tuber_csn50_ava21", "tuber_csn152_ava21", "tuber_csn152_jhmdb"])
def test_every_released_name_comes_back(name):
    folder = FIXTURES if (FIXTURES / f"{name}.json").exists() else LARGE
    if not (folder / f"{name}.json").exists():
        pytest.skip(f"the reference case {name} is not at {folder}")
    keys = ReferenceCase(folder / name).meta["weights"]
    weights = {f"module.{key}": torch.tensor(float(i)) for i, key in enumerate(keys)}
    back = to_tuber_names(to_tubedet_names(weights).weights)
    assert back == weights and len(set(back)) == len(keys)


@pytest.mark.parametrize(
    "key",
    [
        "box_heads.0.layers.0.weight",
        "transformer.level_embed",
        "action_heads.0.weight",
        "bbox_embed.layers.0.weight",
    ],
)
def test_names_of_other_models_are_refused(key):
    with pytest.raises(CheckpointError, match=f"{key} has no name in the released TubeR"):
        to_tuber_names({key: torch.zeros(1)})
