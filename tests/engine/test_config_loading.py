import os
import re

import pytest
import yaml

from tubedet.engine import load_config
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
    with pytest.raises(UserError, match=message) as raised:
        load_config("wrong.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    "key, value, message",
    [
        ("SOLVER.BASELR", 0.1, "there is no key SOLVER.BASELR; did you mean SOLVER.BASE_LR?"),
        ("SLOVER.BASE_LR", 0.1, "did you mean SOLVER.BASE_LR?"),
        ("solver.base_lr", 0.1, "did you mean SOLVER.BASE_LR?"),
        ("MODEL.NUM_QUERIES", 5, "did you mean MODEL.TUBER.NUM_QUERIES or MODEL.MEMORY.NUM_QUERIE"),
        ("SOLVER.MAX_ITER", "abc", "abc is no int for config key: SOLVER.MAX_ITER; a possible v"),
        (
            "INPUT.MIN_SIZE_TRAIN",
            32,
            "config key: INPUT.MIN_SIZE_TRAIN; one value alone needs a comma: (32,)",
        ),
        ("DATASETS.TRAIN", "a.yaml", 'DATASETS.TRAIN; one value alone needs a comma: ("a.yaml",)'),
        ("SOLVER", 3, "SOLVER is a section of keys; give a value to one of them"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_what_would_be_right(
    key, value, message, in_file, tmp_path
):
    arguments = ("", [key, value])
    if in_file:
        *sections, name = key.split(".")
        content = {name: value}
        for section in reversed(sections):
            content = {section: content}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        arguments = (str(tmp_path / "mine.yaml"),)
        if key.split(".")[0] in ("SLOVER", "solver"):
            message = f"there is no key {key.split('.')[0]}; did you mean SOLVER?"
    with pytest.raises(UserError) as raised:
        load_config(*arguments)
    place = "mine.yaml" if in_file else "KEY VALUE arguments: "
    assert message in str(raised.value) and place in str(raised.value)
    assert len(str(raised.value)) < 300 and "\n" not in str(raised.value)


def test_options_behind_the_keys_are_named():
    with pytest.raises(UserError, match="there is no key --num-gpus; options stand before KEY"):
        load_config("", ["SEED", "1", "--num-gpus", "2"])
    with pytest.raises(UserError, match="there is no key SEED.A"):
        load_config("", ["SEED.A", "1"])


def test_a_base_that_does_not_exist_is_named_with_its_config(tmp_path):
    (tmp_path / "mine.yaml").write_text("_BASE_: above.yaml\n")
    with pytest.raises(UserError, match=r"mine.yaml: its _BASE_ \S+above.yaml: No such file"):
        load_config(str(tmp_path / "mine.yaml"))


def test_what_is_no_yaml_file_is_named(tmp_path):
    (tmp_path / "lazy.py").write_text("model = dict()\n")
    with pytest.raises(UserError, match="lazy.py: a LazyConfig in Python; tubedet takes yaml"):
        load_config(str(tmp_path / "lazy.py"))
    with pytest.raises(UserError, match="is a folder; name a yaml file in it"):
        load_config(str(tmp_path))


def test_unknown_keys_of_a_file_are_named_with_it(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("MODEL:\n  TUBBER: 1\n")
    with pytest.raises(UserError, match="wrong.yaml: .*MODEL.TUBBER"):
        load_config(str(path))


@pytest.mark.parametrize(
    "old, new",
    [
        ("MODEL.TUBER.NO_OBJECT_WEIGHT", "MODEL.CRITERION.NO_OBJECT_WEIGHT"),
        ("MODEL.TUBER.PERSON_LOSS_WEIGHT", "MODEL.CRITERION.PERSON_LOSS_WEIGHT"),
        ("MODEL.SEQFORMER.FOCAL_GAMMA", "MODEL.CRITERION.FOCAL_GAMMA"),
        ("MODEL.SPARSE_RCNN.L1_FORMAT", "MODEL.CRITERION.L1_FORMAT"),
        ("MODEL.TUBER.REPEAT_EQUAL_WORK", "the argument repeat_equal_work"),
    ],
)
def test_old_keys_are_named_with_their_place_and_the_new_key(old, new, tmp_path):
    _, node, key = old.split(".")
    (tmp_path / "mine.yaml").write_text(f"MODEL:\n  {node}:\n    {key}: 1\n")
    (tmp_path / "child.yaml").write_text("_BASE_: mine.yaml\nSEED: 1\n")
    for place, arguments in (
        ("mine.yaml: ", (str(tmp_path / "mine.yaml"),)),
        ("child.yaml or its _BASE_: ", (str(tmp_path / "child.yaml"),)),
        ("^KEY VALUE arguments: ", ("", [old, "1"])),
    ):
        with pytest.raises(UserError) as raised:
            load_config(*arguments)
        (message,) = raised.value.args
        assert re.search(f"{place}Key {re.escape(old)} was renamed to {re.escape(new)}", message)
        assert "\n" not in message and "such keys" not in message


def test_all_old_keys_of_a_config_that_a_run_wrote_are_counted(tmp_path):
    cfg = load_config("")
    assert _values(load_config(_written(tmp_path, cfg))) == _values(cfg)
    for node in (cfg.MODEL.TUBER, cfg.MODEL.SEQFORMER, cfg.MODEL.SPARSE_RCNN):
        node.update(cfg.MODEL.CRITERION)
    for node in (cfg.MODEL.SEQFORMER, cfg.MODEL.SPARSE_RCNN):
        del node["PERSON_LOSS_WEIGHT"]
    del cfg.MODEL["CRITERION"]
    with pytest.raises(
        UserError, match=r"config.yaml: .*MODEL\.CRITERION.*\(49 such keys in all\)"
    ):
        load_config(_written(tmp_path, cfg))


def _values(cfg):
    return yaml.safe_load(cfg.dump())


def _written(folder, cfg):
    (folder / "config.yaml").write_text(cfg.dump())
    return str(folder / "config.yaml")


def test_values_for_deformable_tuber_in_the_node_of_tuber_are_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    base = "configs/Base-DeformableTubeR.yaml"
    path.write_text(f"_BASE_: {os.path.abspath(base)}\nMODEL:\n  TUBER:\n    NUM_QUERIES: 30\n")
    message = (
        "MODEL.TUBER.NUM_QUERIES is 30, but .* MODEL.DEFORMABLE_TUBER.NUM_QUERIES, which is 15"
    )
    with pytest.raises(UserError, match=f"mine.yaml or its _BASE_: {message}"):
        load_config(str(path))
    with pytest.raises(UserError, match=f"KEY VALUE arguments: {message}"):
        load_config(base, ["MODEL.TUBER.NUM_QUERIES", "30"])
    cfg = load_config(str(path), ["MODEL.DEFORMABLE_TUBER.NUM_QUERIES", "30"])
    assert cfg.MODEL.DEFORMABLE_TUBER.NUM_QUERIES == 30
    assert _values(load_config(_written(tmp_path, cfg))) == _values(cfg)
    # TubeR reads none of the deformable node, and TEMPORAL_POOLING is TubeR's alone.
    load_config("configs/Base-TubeR.yaml", ["MODEL.TUBER.NUM_QUERIES", "30"])
    load_config(base, ["MODEL.TUBER.TEMPORAL_POOLING", "avg"])


def test_bases_and_overrides_are_merged():
    cfg = load_config("configs/AVA/TubeR_CSN152_AVA22.yaml", ["MODEL.TUBER.NUM_QUERIES", 30])
    assert (cfg.MODEL.CSN.DEPTH, cfg.MODEL.TUBER.NUM_QUERIES) == (152, 30)
    assert cfg.SOLVER.BASE_LR == 1e-4 and cfg.DATASETS.TEST == ("ava_v2.2_val",)
