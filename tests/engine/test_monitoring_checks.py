"""What cannot be watched is refused before a training starts."""

import pytest

from tubedet.engine import load_config
from tubedet.engine.monitoring_checks import check_monitoring
from tubedet.errors import UserError

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
BEST = ["TEST.BEST_METRIC", "frame_ap/mAP@0.5IOU"]

TWO = ("ava_toy_val", "ava_toy_train")


@pytest.mark.parametrize(
    "opts, message",
    [
        (["TEST.PATIENCE", -1], "TEST.PATIENCE is -1; give at least 0"),
        (["TEST.PATIENCE", 3], "set TEST.EVAL_PERIOD, too"),
        (["TEST.PATIENCE", 3, "TEST.EVAL_PERIOD", 10], "set TEST.BEST_METRIC, too"),
        ([*BEST, "DATASETS.TEST", ()], "DATASETS.TEST is empty"),
        (["TEST.BEST_METRIC", "mAP"], "give a figure as metrics.json has it"),
        (["TEST.BEST_METRIC", "validation/total_loss"], "needs TEST.VALIDATION_LOSS True"),
        (
            ["TEST.BEST_METRIC", "frame_ap/mAP"],
            "figures of frame_ap are mAP@0.5IOU and, of a class",
        ),
        ([*BEST, "DATASETS.TEST", TWO], "such as ava_toy_val/frame_ap/mAP@0.5IOU"),
        (["TEST.BEST_METRIC", "ava_toy_val/frame_ap/AP", "DATASETS.TEST", TWO], "of frame_ap are"),
        (["TEST.PICTURES", 65], "TEST.PICTURES is 65; give 0 to 64"),
        (["TRACKER", "aim"], "TRACKER is 'aim'"),
    ],
)
def test_a_line_names_the_key(opts, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        check_monitoring(load_config(CONFIG, opts))


def test_what_goes_together_is_accepted():
    good = [*BEST, "TEST.PATIENCE", 3, "TEST.EVAL_PERIOD", 10, "TEST.PICTURES", 64]
    assert check_monitoring(load_config(CONFIG, good)) is None
    names = ["frame_ap/AP-crouch/kneel", "mine/score", "frame_ap_act/mAP@0.5IOU"]
    for name in names:
        check_monitoring(load_config(CONFIG, ["TEST.BEST_METRIC", name]))
    two = ["DATASETS.TEST", TWO, "TEST.BEST_METRIC", "ava_toy_train/frame_ap/AP-walk"]
    check_monitoring(load_config(CONFIG, two))
