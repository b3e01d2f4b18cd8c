"""detectron2's checkpointer with safe reading, released key names, and whole files only."""

import os

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .load_report import LoadReport, load_weights
from .released_names import convert_released, released_layout
from .safe_loading import CheckpointError, load_checkpoint_file


class TubedetCheckpointer(DetectionCheckpointer):
    """Saves atomically; loads tubedet's and released checkpoints and reports what matched.

    A checkpoint is written beside its final name and then renamed, and ``last_checkpoint`` is
    changed only after that, so a killed run always leaves the previous checkpoint whole.

    Args:
        model: as for ``DetectionCheckpointer``; may be wrapped in DistributedDataParallel.
        save_dir: folder for checkpoints.
        min_matched: smallest accepted :attr:`LoadReport.share`.
        checkpointables: further objects with a state, saved and resumed along.

    Attributes:
        report: of the last load, or None.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, min_matched: float = 0.9, **checkpointables
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.min_matched = min_matched
        self.report: LoadReport | None = None

    def save(self, name: str, **kwargs) -> None:
        """Write ``<save_dir>/<name>.pth`` and make it the last checkpoint."""
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), **kwargs}
        for key, checkpointable in self.checkpointables.items():
            data[key] = checkpointable.state_dict()
        file_name = f"{name}.pth"
        path = os.path.join(self.save_dir, file_name)
        self.logger.info(f"Saving checkpoint to {path}")
        with open(path + ".partial", "wb") as f:
            torch.save(data, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(path + ".partial", path)
        self.tag_last_checkpoint(file_name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make a file of ``save_dir`` the one that ``--resume`` starts from."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        with open(path + ".partial", "w") as f:
            f.write(last_filename_basename)
        os.replace(path + ".partial", path)

    def load(self, path: str, *args, **kwargs) -> dict:
        """As in detectron2; see the class for what is accepted.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if the file cannot be read or too little of the model was found.
        """
        if path and "://" not in path and not os.path.isfile(path):
            raise FileNotFoundError(f"checkpoint {path} does not exist (MODEL.WEIGHTS, --resume)")
        self._source = path
        try:
            return super().load(path, *args, **kwargs)
        finally:
            self._parsed_url_during_load = None  # the base class keeps it when loading fails

    def _load_file(self, filename: str) -> dict:
        return load_checkpoint_file(filename)

    def _load_model(self, checkpoint: dict) -> None:
        weights = checkpoint.pop("model")
        if all(key.startswith("module.") for key in weights):
            weights = {key.removeprefix("module."): value for key, value in weights.items()}
        names_in_file, ignored, layout = None, [], released_layout(weights)
        if layout is not None:
            weights, names_in_file, ignored = convert_released(weights, layout)
        model = self.model
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        self.report = load_weights(
            model,
            weights,
            source=self._source,
            layout="tubedet's names" if layout is None else layout.name,
            names_in_file=names_in_file,
            ignored=ignored,
        )
        self.logger.info(self.report.summary())
        if self.report.missing or self.report.mismatched or self.report.unexpected:
            self.logger.warning("What did not match:\n" + self.report.details())
        if self.report.share < self.min_matched:
            raise CheckpointError(
                f"{self.report.summary()}. At least {self.min_matched:.0%} is required "
                "(MODEL.INIT.MIN_MATCHED); do the config's architecture and depth fit the file?\n"
                + self.report.details()
            )
