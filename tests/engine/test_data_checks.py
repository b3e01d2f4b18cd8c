"""Data sets that contradict each other or the model are named before a run, or warned of."""

import logging
import os

import pytest
from detectron2.data import MetadataCatalog

from tubedet.engine import load_config
from tubedet.engine.config_checks import number_of, queries_key
from tubedet.engine.data_checks import (
    check_annotation_files,
    check_distinct_results,
    check_same_actions,
    mirrored_actions,
    warn_of_crowds,
    warn_of_mirrored_actions,
)
from tubedet.errors import UserError


@pytest.fixture
def named():
    """Registers the names of the actions of a data set."""
    made = []

    def register(name, actions):
        MetadataCatalog.get(name).set(action_names=actions)
        made.append(name)
        return name

    yield register
    for name in made:
        MetadataCatalog.remove(name)


def test_another_order_of_actions_is_refused(named):
    a, b = named("first", ["walk", "wave"]), named("second", ["wave", "walk"])
    check_same_actions([a, a])
    with pytest.raises(UserError, match="action 1 is 'walk' in data set 'first' and 'wave' in 'se"):
        check_same_actions([a, b])
    c = named("third", ["walk", "jump"])
    with pytest.raises(UserError, match="action 2 is 'wave' in data set 'first' and 'jump' in 'th"):
        check_same_actions([a, c])
    check_same_actions([a, named("fourth", ["Walk ", "wave"])])
    check_same_actions(["coco_2017_val", a])  # without actions


@pytest.mark.parametrize(
    "actions, pairs",
    [
        (["raise left arm", "raise right arm", "walk"], [("raise left arm", "raise right arm")]),
        (["Turn Right", "turn left"], [("turn left", "Turn Right")]),
        (["kick_left", "kick_right"], [("kick_left", "kick_right")]),
        (["left", "leave", "bright"], []),
        (["right to left", "left to right"], [("left to right", "right to left")]),
        (["Left_Arm", "Right_Arm"], [("Left_Arm", "Right_Arm")]),
        (["turn-left", "turn-right"], [("turn-left", "turn-right")]),
        (["lefthand up", "righthand up"], [("lefthand up", "righthand up")]),
        (["leftHand", "rightHand", "hand"], [("leftHand", "rightHand")]),
        (["arm_R", "arm_L", "roll"], [("arm_L", "arm_R")]),
        (
            ["spin clockwise", "spin counter-clockwise", "spin"],
            [("spin counter-clockwise", "spin clockwise")],
        ),
        (["turn anticlockwise", "turn CW"], [("turn anticlockwise", "turn CW")]),
        (["upright", "raise left arm", "l", "rl"], []),
        ([], []),
    ],
)
def test_actions_that_a_mirror_exchanges(actions, pairs):
    assert mirrored_actions(actions) == pairs


def test_flipping_is_warned_of_once_for_each_pair(named, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    name = named("sides", ["raise left arm", "raise right arm"])
    cfg = load_config("", ["MODEL.DEVICE", "cpu"])
    warn_of_mirrored_actions(cfg, [name])
    (message,) = [record.getMessage() for record in caplog.records]
    assert "'raise left arm' shows 'raise right arm'" in message
    assert "INPUT.RANDOM_FLIP none" in message
    caplog.clear()
    for opts in (["INPUT.RANDOM_FLIP", "none"], ["MODEL.PERSON_ONLY", True]):
        changed = cfg.clone()
        changed.merge_from_list(opts)
        warn_of_mirrored_actions(changed, [name])
    assert not caplog.records


def test_more_persons_than_queries_are_warned_of(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    numbers = [2, 7, 12, 6, 0]
    warn_of_crowds(numbers, num_queries=12, key="MODEL.TUBER.NUM_QUERIES")
    assert not caplog.records
    warn_of_crowds(numbers, num_queries=6, key="MODEL.TUBER.NUM_QUERIES")
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(
        "2 of 5 key frames have more persons than MODEL.TUBER.NUM_QUERIES 6, up to 12"
    )


@pytest.mark.parametrize("name", ["TubeR", "DeformableTubeR", "SeqFormer", "SparseRCNN"])
def test_every_architecture_has_a_key_of_its_queries(name):
    cfg = load_config("", ["MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", name])
    assert number_of(cfg, queries_key(cfg)) > 1


def test_crowds_of_a_test_set_name_it(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    warn_of_crowds([3, 1], num_queries=2, key="MODEL.SEQFORMER.NUM_QUERIES", name="val")
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("data set 'val': 1 of 2 key frames have more persons than MODEL.SEQ")
    assert message.endswith("up to 3: the others are missed; raise the key")


def test_results_of_two_data_sets_are_two_files():
    check_distinct_results(("a/t.yaml", "a/u.yaml", "ava_toy_val"))
    with pytest.raises(UserError, match="of a/t.yaml and b/t.yaml would be the same file, t_pred"):
        check_distinct_results(("a/t.yaml", "u.yaml", "b/t.yaml"))
    with pytest.raises(UserError, match="of ava_toy_val and ava_toy_val would be the same file"):
        check_distinct_results(("ava_toy_val", "ava_toy_val"))
    for one, other in (("a/T.yaml", "b/t.yml"), ("my/val", "my_val"), ("t.yaml", "./t.yaml")):
        with pytest.raises(UserError, match="would be the same file"):
            check_distinct_results((one, other))


def test_a_data_set_without_files_says_where_it_was_looked_for():
    name = "ava_v2.2_train"
    if os.path.isfile(MetadataCatalog.get(name).groundtruth_csv):
        pytest.skip("the data set is there")
    with pytest.raises(FileNotFoundError) as raised:
        check_annotation_files(["coco_2017_val_persons", name])
    for part in ("ava_train_v2.2.csv", "$DETECTRON2_DATASETS (", "datasets/prepare_ava.py"):
        assert part in str(raised.value)
