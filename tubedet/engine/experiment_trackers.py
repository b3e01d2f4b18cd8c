"""Figures of a training for W&B, MLflow or ClearML (``TRACKER``)."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import re
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

from tubedet.errors import UserError
from tubedet.files.atomic_writing import write_json

logger = logging.getLogger(__name__)

RECORD = "tracker.json"
_PROJECT = "tubedet"
_SMOOTHED_OVER = 20  # iterations, like TensorBoard's curves


def check_tracker(name: str) -> None:
    """Refuse a tracker that does not exist, or whose package is missing.

    Args:
        name: value of ``TRACKER``; empty: none.

    Raises:
        UserError: if it cannot be used.
    """
    if not name:
        return
    if name not in TRACKERS:
        raise UserError(f"TRACKER is {name!r}; choose one of {list(TRACKERS)}, or '' for none")
    if importlib.util.find_spec(name) is None:
        raise UserError(_missing(name))


def build_tracker(cfg: CfgNode) -> ExperimentTracker | None:
    """Start the tracker of a training, in the main process alone.

    Args:
        cfg: ``TRACKER`` names it, and ``OUTPUT_DIR`` the run.

    Returns:
        None if there is to be none.

    Raises:
        UserError: if it cannot be used.
    """
    check_tracker(cfg.TRACKER)
    return TRACKERS[cfg.TRACKER](cfg) if cfg.TRACKER else None


class ExperimentTracker(EventWriter, ABC):
    """Sends the scalars of a training; the run begins with the first of them.

    ``tracker.json`` in ``OUTPUT_DIR`` has the identity of the run, with which a training that is
    resumed goes on in the same one.

    Args:
        cfg: of the training; it is sent, too.

    Raises:
        UserError: if the package cannot be imported.
    """

    package: str

    def __init__(self, cfg: CfgNode):
        try:
            self._module: Any = importlib.import_module(self.package)
        except ImportError as error:
            raise UserError(f"{_missing(self.package)} ({error})") from error
        self._cfg = cfg
        self._folder = Path(cfg.OUTPUT_DIR)
        self._last_write = -1
        self._is_started = False

    @abstractmethod
    def start(self, module: ModuleType, *, name: str, run: str | None) -> str:
        """Begin a run, or go on with one.

        Args:
            module: the package.
            name: of the run, for people.
            run: identity of the run to go on with; None: a new one.

        Returns:
            its identity.
        """

    @abstractmethod
    def send(self, scalars: dict[str, float], iteration: int) -> None:
        """Send the scalars of an iteration.

        Args:
            scalars: by name, such as "total_loss" and "frame_ap/mAP@0.5IOU".
            iteration: of the training.
        """

    @abstractmethod
    def end(self) -> None:
        """End the run."""

    def write(self) -> None:
        """Send the scalars since the last call."""
        storage = get_event_storage()
        by_iteration: dict[int, dict[str, float]] = {}
        latest = storage.latest_with_smoothing_hint(_SMOOTHED_OVER)
        for name, (value, iteration) in latest.items():
            if iteration > self._last_write:
                by_iteration.setdefault(iteration, {})[name] = value
        if not by_iteration:
            return
        if not self._is_started:
            self._start()
        for iteration in sorted(by_iteration):
            self.send(by_iteration[iteration], iteration)
            self._last_write = iteration

    def close(self) -> None:
        """End the run."""
        if self._is_started:
            self.end()
            self._is_started = False

    def _start(self) -> None:
        path = self._folder / RECORD
        earlier: dict = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        run = earlier.get("run") if earlier.get("tracker") == self.package else None
        name = self._folder.resolve().name
        run = self.start(self._module, name=name, run=run)
        write_json({"tracker": self.package, "run": run}, path)
        logger.info(f"TRACKER {self.package}: run {run} of project {_PROJECT}, named {name}")
        self._is_started = True


class _WandB(ExperimentTracker):
    package = "wandb"

    def start(self, module: ModuleType, *, name: str, run: str | None) -> str:
        self._run = module.init(
            project=_PROJECT,
            name=name,
            id=run,
            resume="allow" if run else None,
            dir=str(self._folder),
            config=_plain(self._cfg),
        )
        # Evaluations carry the number of the iteration after which they were made, and may come
        # behind those of training steps: W&B would drop what its own counter has passed.
        self._run.define_metric("*", step_metric="iteration")
        return self._run.id

    def send(self, scalars: dict[str, float], iteration: int) -> None:
        self._run.log({**scalars, "iteration": iteration})

    def end(self) -> None:
        self._run.finish()


class _MLflow(ExperimentTracker):
    package = "mlflow"

    def start(self, module: ModuleType, *, name: str, run: str | None) -> str:
        module.set_experiment(_PROJECT)
        if run is None:
            started = module.start_run(run_name=name)
            module.log_dict(_plain(self._cfg), "config.yaml")
        else:
            started = module.start_run(run_id=run)
        return started.info.run_id

    def send(self, scalars: dict[str, float], iteration: int) -> None:
        named = {re.sub(r"[^\w\-./ ]", "_", name): value for name, value in scalars.items()}
        self._module.log_metrics(named, step=iteration)

    def end(self) -> None:
        self._module.end_run()


class _ClearML(ExperimentTracker):
    package = "clearml"

    def start(self, module: ModuleType, *, name: str, run: str | None) -> str:
        self._task = module.Task.init(
            project_name=_PROJECT,
            task_name=name,
            continue_last_task=run or False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=False,  # it would send TensorBoard's curves again
        )
        if run is None:
            self._task.set_configuration_object("config", config_dict=_plain(self._cfg))
        else:
            self._task.set_initial_iteration(0)  # ours go on by themselves
        return self._task.id

    def send(self, scalars: dict[str, float], iteration: int) -> None:
        report = self._task.get_logger().report_scalar
        for name, value in scalars.items():
            task, _, figure = name.rpartition("/")
            report(title=task or "training", series=figure, value=value, iteration=iteration)

    def end(self) -> None:
        self._task.close()


TRACKERS: dict[str, type[ExperimentTracker]] = {
    tracker.package: tracker for tracker in (_WandB, _MLflow, _ClearML)
}


def _missing(package: str) -> str:
    return (
        f"TRACKER {package} needs the package {package}: pip install 'tubedet[{package}]', or set "
        "TRACKER ''"
    )


def _plain(cfg: CfgNode) -> dict[str, Any]:
    """Turn the nodes of a config into dicts."""
    return {k: _plain(v) if isinstance(v, CfgNode) else v for k, v in cfg.items()}
