import pytest
from torch import nn

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference import action_names_of
from tubedet.inference.action_names import find_actions

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


def test_names_need_no_data_set_on_disk():
    names = action_names_of(load_config(CONFIG))
    assert len(names) == 80 and names[13] == "walk"
    assert action_names_of(load_config(CONFIG, ["DATASETS.TEST", "()"]))[79] == "action 80"
    other = load_config(CONFIG, ["MODEL.NUM_ACTIONS", "2"])
    assert action_names_of(other) == ["action 1", "action 2"]


def test_a_person_detector_knows_persons_alone():
    cfg = load_config(CONFIG, ["MODEL.PERSON_ONLY", True])
    assert action_names_of(cfg) == ["person"]


def test_names_of_the_checkpoint_count_where_they_are_as_many():
    model = nn.Identity()
    model.action_names = ["walk", "wave"]
    cfg = load_config(CONFIG, ["MODEL.NUM_ACTIONS", 2])
    assert action_names_of(cfg, model) == ["walk", "wave"]
    assert action_names_of(load_config(CONFIG), model)[13] == "walk"
    other = load_config(CONFIG, ["MODEL.NUM_ACTIONS", 3])
    assert action_names_of(other, model) == ["action 1", "action 2", "action 3"]


def test_actions_are_found_by_name():
    names = ["answer phone", "talk to (e.g., self)", "kick (an object)", "kick (a person)", "Run"]
    wanted = ["run", "Talk to", "kick (a person)", "talk to (e.g., self)"]
    assert find_actions(names, wanted) == [4, 1, 3]
    assert find_actions(names, "answer phone") == [0] and find_actions(names, ()) == []
    with pytest.raises(UserError, match="^no action 'answer fone' to explain; did you mean 'answ"):
        find_actions(names, ["run", "answer fone"])
    many = [f"move {number}" for number in range(80)]
    with pytest.raises(UserError, match="the model knows 'move 0', .*, 'move 7' and 72 more$"):
        find_actions(many, ["fly"])
