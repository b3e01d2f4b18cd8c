"""Results are told apart by what changes them, not by how fast they were made."""

import json

import pytest
from detectron2.data import MetadataCatalog

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference.result_folder import check_settings
from tubedet.inference.result_settings import ACTIONS, result_settings


@pytest.fixture
def cfg(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"some")
    return load_config("", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(tmp_path / "weights.pth")])


@pytest.mark.parametrize(
    "key, value, changes_results",
    [
        ("MODEL.CSN.TRITON", True, False),
        ("MODEL.CUDA_GRAPHS", True, False),
        ("MODEL.CSN.EXECUTION", "modules", False),
        ("INPUT.CLIP.AUGMENT_ON_DEVICE", True, False),
        ("MODEL.TUBER.PERSON_THRESH", 0.1, True),
        ("INPUT.MIN_SIZE_TEST", 128, True),
    ],
)
def test_keys_of_speed_alone_do_not_count(cfg, key, value, changes_results):
    before = result_settings(cfg, every=1.0)
    assert before["every"] == 1.0
    cfg.merge_from_list([key, value])
    after = result_settings(cfg, every=1.0)
    assert (after != before) == changes_results
    assert (key in after) == changes_results


def test_the_order_of_actions_counts(cfg, tmp_path):
    """The columns of the results are in the order of the data set's names."""
    cfg.MODEL.NUM_ACTIONS = 2
    found = []
    try:
        for actions in (None, ["walk", "wave"], ["wave", "walk"]):
            cfg.DATASETS.TEST = ("some actions",)
            MetadataCatalog.get("some actions").set(
                **({"action_names": actions} if actions else {})
            )
            found.append(result_settings(cfg, every=1.0))
            MetadataCatalog.remove("some actions")
    finally:
        MetadataCatalog.pop("some actions", None)
    assert len({settings[ACTIONS] for settings in found}) == 3
    earlier = {key: value for key, value in found[1].items() if key != ACTIONS}  # of old versions
    for number, there in enumerate((*found, earlier)):
        (tmp_path / "run.json").write_text(json.dumps(there))
        for other, now in enumerate(found):
            if number in (3, other):
                check_settings(tmp_path, now)
            else:
                with pytest.raises(UserError, match="actions of DATASETS.TEST: .* there, .* now"):
                    check_settings(tmp_path, now)
