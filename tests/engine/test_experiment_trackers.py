"""W&B, MLflow and ClearML, each by a module that notes what it is given."""

import importlib.machinery
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

from tubedet.engine import experiment_trackers, load_config
from tubedet.engine.experiment_trackers import TRACKERS, build_tracker, check_tracker
from tubedet.errors import UserError


def _noting(calls, **parts):
    """An object whose methods note their calls, but for those given."""

    class Noting(ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)

            def note(*args, **options):
                calls.append((name, *args, options) if options else (name, *args))
                return parts.get(f"{name}()")

            return note

    noting = Noting("fake")
    for name, value in parts.items():
        if not name.endswith("()"):
            setattr(noting, name, value)
    return noting


def _fake(package, calls):
    """A package as a tracker uses it, whose runs are called "abc"."""
    if package == "wandb":
        module = _noting(calls, **{"init()": _noting(calls, id="abc")})
    elif package == "mlflow":
        module = _noting(
            calls, **{"start_run()": SimpleNamespace(info=SimpleNamespace(run_id="abc"))}
        )
    else:
        logger = _noting(calls)
        task = _noting(calls, id="abc", **{"get_logger()": logger})
        module = _noting(calls, Task=_noting(calls, **{"init()": task}))
    module.__spec__ = importlib.machinery.ModuleSpec(package, None)
    return module


def _run(tracker):
    with EventStorage(0) as storage:
        for iteration in range(2):
            storage.iter = iteration
            storage.put_scalar("total_loss", 4.0 - iteration, smoothing_hint=False)
            if iteration:
                storage.put_scalar("frame_ap/mAP@0.5IOU", 50.0, smoothing_hint=False)
            tracker.write()
            tracker.write()  # which has nothing new
    tracker.close()


EXPECTED = {
    "wandb": [
        ("define_metric", "*", {"step_metric": "iteration"}),
        ("log", {"total_loss": 4.0, "iteration": 0}),
        ("log", {"total_loss": 3.0, "frame_ap/mAP@0.5IOU": 50.0, "iteration": 1}),
        ("finish",),
    ],
    "mlflow": [
        ("set_experiment", "tubedet"),
        ("start_run", {"run_name": "out"}),
        ("log_dict", "config.yaml"),
        ("log_metrics", {"total_loss": 4.0}, {"step": 0}),
        ("log_metrics", {"total_loss": 3.0, "frame_ap/mAP_0.5IOU": 50.0}, {"step": 1}),
        ("end_run",),
    ],
    "clearml": [
        ("set_configuration_object", "config"),
        *[
            call
            for title, series, value, iteration in [
                ("training", "total_loss", 4.0, 0),
                ("training", "total_loss", 3.0, 1),
                ("frame_ap", "mAP@0.5IOU", 50.0, 1),
            ]
            for call in [
                (
                    "report_scalar",
                    {"title": title, "series": series, "value": value, "iteration": iteration},
                ),
            ]
        ],
        ("close",),
    ],
}


def _without_config(calls):
    """The calls but those that only begin; of the config only that it is there."""
    told = []
    for call in calls:
        if call[0] in ("init", "get_logger"):
            continue
        if call[0] == "log_dict":
            assert call[1]["SOLVER"]["MAX_ITER"] == 1600
            call = (call[0], call[2])
        elif call[0] == "set_configuration_object":
            assert call[2]["config_dict"]["SOLVER"]["MAX_ITER"] == 1600
            call = call[:2]
        told.append(call)
    return told


@pytest.mark.parametrize("package", TRACKERS)
def test_scalars_are_sent_once_and_a_resumed_run_goes_on(package, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()
    calls: list = []
    monkeypatch.setitem(sys.modules, package, _fake(package, calls))
    config = "configs/quick_schedules/TubeR_toy.yaml"
    cfg = load_config(config, ["TRACKER", package, "OUTPUT_DIR", str(folder)])
    _run(build_tracker(cfg))
    assert _without_config(calls) == EXPECTED[package]
    assert json.loads((folder / "tracker.json").read_text()) == {"tracker": package, "run": "abc"}
    (first,) = [call[-1] for call in calls if call[0] in ("init", "start_run")]

    _run(build_tracker(cfg))
    _, second = [call[-1] for call in calls if call[0] in ("init", "start_run")]
    key = {"wandb": "id", "mlflow": "run_id", "clearml": "continue_last_task"}[package]
    assert not first.get(key) and second[key] == "abc"


def test_a_missing_package_is_told_in_a_line_before_the_training(monkeypatch):
    monkeypatch.setattr(experiment_trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as told:
        check_tracker("mlflow")
    assert str(told.value) == (
        "TRACKER mlflow needs the package mlflow: pip install 'tubedet[mlflow]', or set TRACKER ''"
    )
    with pytest.raises(UserError, match=r"TRACKER is 'wandB'; choose one of \['wandb', 'mlflow'"):
        check_tracker("wandB")
    assert check_tracker("") is None and build_tracker(load_config("")) is None
