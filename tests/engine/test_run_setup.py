import logging

import pytest

from tubedet.engine import load_config
from tubedet.engine.run_setup import _is_brief
from tubedet.errors import UserError


def test_unknown_files_and_keys_are_named():
    with pytest.raises(UserError, match="nowhere.yaml"):
        load_config("nowhere.yaml")
    with pytest.raises(UserError, match="TUBBER"):
        load_config("", ["MODEL.TUBBER.NUM_QUERIES", 3])


@pytest.mark.parametrize(
    "content, message",
    [
        (b"SEED: 1\nINPUT: !!python/tuple [3]\n", r"wrong.yaml:2: .*python/tuple"),
        (b"MODEL: [1,\n", r"wrong.yaml:2: expected the node content"),
        (b"_BASE_: wrong.yaml\n", r"wrong.yaml: .*its own _BASE_"),
        (b"", r"wrong.yaml .*expected sections"),
        (b"MODEL:\n", r"wrong.yaml .*expected sections"),
        (b"SEED: [1]\n", r"wrong.yaml .*config key: SEED"),
        (b"OUTPUT_DIR: 2020-01-02\n", r"wrong.yaml .*OUTPUT_DIR with value"),
        (b"OUTPUT_DIR: caf\xe9\n", r"wrong.yaml .*utf-8"),
    ],
)
def test_what_is_no_config_is_named(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        load_config("wrong.yaml")
    assert "\n" not in str(raised.value)


def test_unknown_keys_of_a_file_are_named_with_it(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("MODEL:\n  TUBBER: 1\n")
    with pytest.raises(UserError, match="wrong.yaml: .*MODEL.TUBBER"):
        load_config(str(path))


def test_bases_and_overrides_are_merged():
    cfg = load_config("configs/AVA/TubeR_CSN152_AVA22.yaml", ["MODEL.TUBER.NUM_QUERIES", 30])
    assert (cfg.MODEL.CSN.DEPTH, cfg.MODEL.TUBER.NUM_QUERIES) == (152, 30)
    assert cfg.SOLVER.BASE_LR == 1e-4 and cfg.DATASETS.TEST == ("ava_v2.2_val",)


@pytest.mark.parametrize(
    "message, brief",
    [("Running with full config:\nA: 1", False), ("Environment info:\nx", False), ("iter 1", True)],
)
def test_the_console_leaves_out_dumps(message, brief):
    record = logging.LogRecord("detectron2", logging.INFO, "", 0, message, None, None)
    assert _is_brief(record) == brief
