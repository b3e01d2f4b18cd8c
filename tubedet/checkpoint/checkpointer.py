"""detectron2's checkpointer with safe reading, released key names, and whole files only."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from tubedet.agreement import agreed_errors, check_same_file, of_main_process
from tubedet.errors import UserError
from tubedet.files.atomic_writing import open_atomically, write_json
from tubedet.files.urls import is_url
from tubedet.model_zoo import fetch_url, local_weights

from .action_names import ACTION_NAMES, MAX_NAME_LENGTH, TRAINED_ON, checked_action_names
from .classifier_rows import Use, arrange_classifier
from .load_report import LoadReport
from .released_names import to_tubedet_names
from .safe_loading import CheckpointError, load_checkpoint_file
from .weight_loading import load_weights

REPORT_FILE = "load_report.json"
# Name of detectron2's BestCheckpointer for the best weights so far.
BEST = "model_best"


class TubedetCheckpointer(DetectionCheckpointer):
    """Saves atomically; loads tubedet's and released checkpoints and reports what matched.

    A checkpoint is written beside its final name and then renamed, and ``last_checkpoint`` is
    changed only after that, so a killed run always leaves the previous checkpoint whole.

    If a checkpoint has a moving average of the weights, the average is loaded. Only a training that
    is resumed, with ``checkpointables``, loads both.

    Args:
        model: as for ``DetectionCheckpointer``; may be wrapped in DistributedDataParallel.
        save_dir: folder for checkpoints.
        min_matched: smallest accepted :attr:`LoadReport.share`, of every source for its part.
        backbone: path, URL or released name of weights for the backbone alone, see
            :meth:`resume_or_load`.
        transformer: likewise for everything but the backbone.
        action_names: names of the model's actions; None: unknown.
        actions_from: where they come from, for messages.
        trained_on: names of the data sets of a training; kept in its checkpoints.
        for_training: a classifier of other actions may begin anew. Otherwise, for a model that
            is used as it is, such a file is an error.
        **checkpointables: further objects with a state, saved and resumed along.

    Attributes:
        reports: of the sources loaded so far.
        resumed_from: path of the checkpoint from which a run goes on; empty if it starts anew.
        action_names: of the model, as given, or else those of the file that was loaded for use or
            resumed; None: unknown.
        trained_on: the data sets, as given or as the file says that was loaded for use.

    Raises:
        UserError: if the names cannot be kept in a checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        min_matched: float = 0.9,
        backbone: str = "",
        transformer: str = "",
        action_names: Sequence[str] | None = None,
        actions_from: str = "the data set",
        trained_on: Sequence[str] = (),
        for_training: bool = True,
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.min_matched = min_matched
        self.part_sources = {"backbone": backbone, "transformer": transformer}
        self.for_training = for_training
        try:
            self.action_names = None if action_names is None else checked_action_names(action_names)
        except ValueError as error:
            raise UserError(f"actions of {actions_from}: {error}") from error
        self.actions_from = actions_from
        # The folder of a custom data set is nobody else's business.
        short = [os.path.basename(name)[:MAX_NAME_LENGTH] for name in trained_on]
        self.trained_on = [name for name in short if name.isprintable()]
        self.reports: list[LoadReport] = []
        self.resumed_from = ""
        self._is_resuming = False

    @property
    def report(self) -> LoadReport | None:
        """Of the last load."""
        return self.reports[-1] if self.reports else None

    def save(self, name: str, **kwargs) -> None:
        """Write ``<save_dir>/<name>.pth`` and make it the last checkpoint.

        The best one, ``model_best``, becomes the last only where there is no other: a run that is
        resumed goes on from where it was.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), **kwargs}
        if self.action_names is not None:
            data[ACTION_NAMES] = self.action_names
        if self.trained_on:
            data[TRAINED_ON] = self.trained_on
        for key, checkpointable in self.checkpointables.items():
            data[key] = checkpointable.state_dict()
        file_name = f"{name}.pth"
        path = os.path.join(self.save_dir, file_name)
        self.logger.info(f"Saving checkpoint to {path}")
        with open_atomically(path, "wb") as stream:
            torch.save(data, stream)
        if name != BEST or not self.has_checkpoint():
            self.tag_last_checkpoint(file_name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make a file of ``save_dir`` the one that ``--resume`` starts from."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        with open_atomically(path) as stream:
            stream.write(last_filename_basename)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        """Go on from the last checkpoint of ``save_dir``, or start from published weights.

        A start loads the sources of the parts, then ``path`` over them, and writes what matched to
        ``<save_dir>/load_report.json``. Nothing of that happens when a run is resumed.

        All processes of a run call it together. The main process decides whether and from which
        checkpoint the run goes on; all must be able to read the same files.

        Args:
            path: path, URL or released name of the weights for the whole model; may be empty.
            resume: go on if there is a checkpoint in ``save_dir``.

        Returns:
            what the checkpoint holds besides its weights.

        Raises:
            FileNotFoundError, CheckpointError: see :meth:`load`. A checkpoint that is resumed must
                fit the model completely.
            AgreedError: in every process, if loading fails in one of several, or they do not read
                the same files.
        """
        self.resumed_from = self._find_resumed() if resume else ""
        if self.resumed_from:
            with agreed_errors():
                return self._resume()
        self._check_sources(path)
        try:
            with agreed_errors():
                for part, source in self.part_sources.items():
                    if source:
                        self._load_part(source, part)
                return super().resume_or_load(path, resume=False)
        finally:
            self._write_reports()

    def _find_resumed(self) -> str:
        """Return the path of the file that the main process finds; empty if there is none."""
        own = self.get_checkpoint_file() if self.has_checkpoint() else ""
        name = of_main_process(own.removeprefix(os.path.join(self.save_dir, "")))
        path = os.path.join(self.save_dir, name) if name else ""
        if path:
            check_same_file(
                path,
                advice="to go on with --resume, OUTPUT_DIR must be a folder that all machines "
                "share",
            )
        elif own:
            self.logger.warning(f"{own} is not used: the main process has no checkpoint")
        return path

    def _check_sources(self, path: str) -> None:
        """Make sure that all processes start from the same files."""
        sources = {f"MODEL.INIT.{part.upper()}": s for part, s in self.part_sources.items()}
        for key, source in {**sources, "MODEL.WEIGHTS": path}.items():
            if source:
                with agreed_errors():
                    file = self._local_path(source, key)
                check_same_file(file, advice=f"{key} must be the same file on all machines")

    def _resume(self) -> dict:
        path = self.resumed_from
        self._is_resuming = True
        try:
            return self.load(path)
        except CheckpointError as error:
            if path in str(error):
                raise
            raise CheckpointError(
                f"{path} cannot be resumed with this config: {error}. Use the config of that run, "
                "or another OUTPUT_DIR"
            ) from error
        finally:
            self._is_resuming = False

    def load(self, path: str, *args, **kwargs) -> dict:
        """As in detectron2; see the class for what is accepted.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if the file cannot be read or too little of the model was found.
            UserError: if released weights cannot be fetched.
        """
        self._source = path
        if path:
            path = self._local_path(path, "--resume" if self._is_resuming else "MODEL.WEIGHTS")
        # That of DetectionCheckpointer lets processes without the file go on without the state of
        # the optimiser; here every process has the file.
        return Checkpointer.load(self, path, *args, **kwargs)

    def _local_path(self, source: str, key: str) -> str:
        """Path of a file on this machine, fetched if need be."""
        path = local_weights(source, key)
        try:
            return fetch_url(path, key=key) if is_url(path) else path
        except OSError as error:
            raise CheckpointError(f"{source} cannot be fetched ({key}): {error}") from error

    def _load_file(self, filename: str) -> dict:
        resumes_training = self._is_resuming and bool(self.checkpointables)
        return load_checkpoint_file(filename, averaged=not resumes_training)

    def _load_model(self, checkpoint: dict) -> None:
        theirs = checkpoint.pop(ACTION_NAMES, None)
        trained_on = checkpoint.pop(TRAINED_ON, [])
        use: Use = "detection" if not self.for_training else "training"
        if self._is_resuming and self.checkpointables:
            use = "resumed training"
        self._load_weights(checkpoint.pop("model"), self._source, "model", theirs, use)
        if self.action_names is None and use != "training":
            self.action_names = theirs
        if use == "detection":
            self.trained_on = trained_on

    def _load_part(self, source: str, part: str) -> None:
        path = self._local_path(source, f"MODEL.INIT.{part.upper()}")
        file = load_checkpoint_file(path)
        self._load_weights(file["model"], source, part, file.get(ACTION_NAMES), "training")

    def _load_weights(
        self,
        weights: dict[str, torch.Tensor],
        source: str,
        part: str,
        theirs: Sequence[str] | None,
        use: Use,
    ) -> None:
        model = self.model
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        try:
            named = to_tubedet_names(weights)
        except CheckpointError as error:
            raise CheckpointError(f"{source}: {error}") from error
        if part != "backbone":
            arrange_classifier(
                named,
                model.state_dict(),
                theirs=theirs,
                ours=self.action_names,
                ours_from=self.actions_from,
                source=source,
                use=use,
                first_row=getattr(getattr(model, "action_head", None), "first_column", 0),
            )
        report = load_weights(model, named, source=source, part=part)
        self.reports.append(report)
        self.logger.info(report.summary())
        if report.missing or report.mismatched or report.unexpected:
            self.logger.warning("What did not match:\n" + report.details())
        if self._is_resuming and (differences := report.differences()):
            raise CheckpointError(differences)
        if report.share < self.min_matched:
            hint = "do the config's architecture and depth fit the file?"
            found = {key.split(".")[0] for key in report.matched}
            if part == "model" and found == {"backbone"}:
                hint = "a file with a backbone alone is for MODEL.INIT.BACKBONE"
            raise CheckpointError(
                f"{report.summary()}. At least {self.min_matched:.0%} is required "
                f"(MODEL.INIT.MIN_MATCHED); {hint}"
            )

    def _write_reports(self) -> None:
        if self.reports and self.save_dir and self.save_to_disk:
            path = Path(self.save_dir, REPORT_FILE)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"sources": [report.to_json() for report in self.reports]}
            write_json(content, path)
