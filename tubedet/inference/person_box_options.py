"""From what a user says about person boxes to their source."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from tubedet.data.person_boxes import PersonBoxes, read_person_boxes
from tubedet.engine.config_loading import load_config
from tubedet.errors import UserError

from .person_boxes.detected_persons import DetectedPersons
from .person_boxes.file_boxes import FileBoxes, folder_reader
from .person_boxes.onnx_detector import OnnxPersons
from .person_boxes.sources import ImageDetector, PersonBoxSource
from .person_boxes.torchvision_detector import (
    DOWNLOAD,
    PREFIX,
    TorchvisionPersons,
    check_model_name,
)
from .result_settings import fingerprint
from .video_detector import VideoActionDetector

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PersonBoxOptions:
    """Where person boxes come from: a file or a folder of files, or a detector.

    Attributes:
        path: the file, or a folder with a file for each video; None: a detector.
        format: of the files, see :data:`tubedet.data.person_boxes.FORMATS`; "": by their content.
        images: json with the images of COCO results.
        start_second: second on the clock of the files at which videos begin.
        detector: config of a detector of tubedet, "torchvision:NAME", or an ONNX file.
        weights: those of the detector: a file, or "DEFAULT" for those of torchvision.
    """

    path: Path | None = None
    format: str = ""
    images: Path | None = None
    start_second: float = 0.0
    detector: str | None = None
    weights: str | None = None

    def check(self, num_videos: int) -> None:
        """Refuse what cannot be right, before anything else is done.

        Args:
            num_videos: which the boxes are for.

        Raises:
            UserError: if options contradict each other, or the file is about one video and there
                are more.
            OSError: if the file cannot be read.
        """
        if self.path is not None and self.detector is not None:
            raise UserError("--boxes and --person-detector both tell who is where; give one")
        if self.path is None and (self.format or self.images or self.start_second):
            raise UserError("--boxes-format, --boxes-images and --boxes-start-second need --boxes")
        if self.detector is not None and self.detector.startswith(PREFIX):
            check_model_name(self.detector.removeprefix(PREFIX))
        if self.detector is None:
            if self.weights is not None:
                raise UserError("--person-weights are those of --person-detector; give it, too")
        elif self.detector.lower().endswith(".onnx"):
            if self.weights is not None:
                raise UserError(f"{self.detector} has its weights; leave out --person-weights")
        elif self.weights is None:
            own = f"; {DOWNLOAD} downloads torchvision's" * self.detector.startswith(PREFIX)
            raise UserError(f"--person-detector {self.detector} needs --person-weights FILE{own}")
        if self.path is not None and not self.path.is_dir():
            boxes = self._read()
            if num_videos > 1 and boxes.videos == ("",):
                raise UserError(
                    f"{self.path} has the boxes of one video, and there are {num_videos}: give a "
                    "folder with a file for each, named as the video"
                )

    def build(self, cfg: CfgNode, device: str | None = None) -> PersonBoxSource:
        """Return the source.

        Args:
            cfg: of the model that needs the boxes.
            device: where a detector runs; None: ``MODEL.DEVICE``.

        Raises:
            UserError: if a file or a detector cannot be used.
            OSError: if a file cannot be read.
        """
        if self.path is not None:
            return self._file_boxes()
        assert self.detector is not None  # one of the two
        device = device or cfg.MODEL.DEVICE
        if self.detector.startswith(PREFIX):
            name = self.detector.removeprefix(PREFIX)
            return ImageDetector(TorchvisionPersons(name, weights=self.weights, device=device))
        if self.detector.lower().endswith(".onnx"):
            return ImageDetector(OnnxPersons(self.detector))
        return self._own_detector(device)

    def settings(self) -> dict:
        """Return what changes the results, by content."""
        files = [self.path, self.images, self.detector, self.weights]
        return {
            "files": [_fingerprint(file) for file in files if file is not None],
            "format": self.format,
            "start_second": self.start_second,
        }

    def _file_boxes(self) -> FileBoxes:
        assert self.path is not None
        if self.path.is_dir():
            read = folder_reader(self.path, self.format, self.images)
            return FileBoxes(read, start_second=self.start_second)
        boxes = self._read()
        logger.info(
            f"person boxes from {boxes.source} ({boxes.format}): {len(boxes)} boxes of "
            f"{len(boxes.videos)} videos" + (", with tracks" if boxes.has_tracks else "")
        )
        for text, count in boxes.remarks.items():
            logger.info(f"{boxes.source}: {text} ({count})")
        return FileBoxes(boxes, start_second=self.start_second)

    def _read(self) -> PersonBoxes:
        assert self.path is not None
        return read_person_boxes(self.path, self.format, images=self.images)

    def _own_detector(self, device: str) -> PersonBoxSource:
        assert self.detector is not None and self.weights is not None
        cfg = load_config(self.detector, ["MODEL.WEIGHTS", self.weights])
        if cfg.MODEL.LOAD_PROPOSALS:
            raise UserError(f"--person-detector {self.detector}: this model needs boxes itself")
        return DetectedPersons(VideoActionDetector(cfg, device=device))


def _fingerprint(file: str | os.PathLike) -> str | list[str]:
    path = Path(file)
    if path.is_dir():
        files = (inner for inner in path.rglob("*") if inner.is_file())
        return sorted(f"{inner.relative_to(path)} {fingerprint(str(inner))}" for inner in files)
    return fingerprint(str(path)) if path.is_file() else str(file)
