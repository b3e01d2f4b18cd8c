"""What cannot be watched is refused before a training starts."""

import pytest

from tubedet.engine import load_config
from tubedet.engine.monitoring_checks import check_monitoring
from tubedet.errors import UserError

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
BEST = ["TEST.BEST_METRIC", "frame_ap/mAP@0.5IOU"]


@pytest.mark.parametrize(
    "opts, message",
    [
        (["TEST.PATIENCE", -1], "TEST.PATIENCE is -1; give at least 0"),
        (["TEST.PATIENCE", 3], "set TEST.EVAL_PERIOD, too"),
        (["TEST.PATIENCE", 3, "TEST.EVAL_PERIOD", 10], "set TEST.BEST_METRIC, too"),
        ([*BEST, "DATASETS.TEST", ()], "DATASETS.TEST is empty"),
        (["TEST.BEST_METRIC", "mAP"], "give a figure as metrics.json has it"),
        (["TEST.BEST_METRIC", "validation/total_loss"], "needs TEST.VALIDATION_LOSS True"),
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
