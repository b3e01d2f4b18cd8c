"""Results are told apart by what changes them, not by how fast they were made."""

import pytest

from tubedet.engine import load_config
from tubedet.inference.result_settings import result_settings


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
