from torch import nn

from tubedet.engine import load_config
from tubedet.inference import action_names_of

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
