"""Person boxes from an ONNX file of any detector with the usual outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torchvision.ops import box_convert, nms

from tubedet.errors import UserError

_GREY = 114  # of the border around a picture, as YOLO has it
_YOLO_SIDE = 640  # of a YOLO that takes any size
_YOLO_PERSON, _USUAL_PERSON = 0, 1  # the category: of 80 from 0 on, or of COCO's ids
_NMS_IOU = 0.7
_MIN_SCORE = 0.05
_MOST_CANDIDATES = 1000  # of a picture, before boxes that overlap are dropped


class OnnxPersons:
    """Finds persons in a picture with onnxruntime.

    The file takes one picture, float RGB from 0 to 1, (1, 3, H, W) or (3, H, W), of one size or
    any. Smaller sides are filled up with grey. It returns

    * three arrays: boxes (n, 4) XYXY in pixels of its input, labels (n,) whole numbers in which
      ``person`` is 1, and scores (n,), each perhaps behind a 1, in any order;
    * or the one of YOLO from version 8 on, (1, 4 + C, N): centres and sizes in pixels, and scores
      of C classes, of which person is the first. Boxes that overlap are dropped here.

    Args:
        path: the file.
        session: of onnxruntime; None: made from the file.
        person: label of persons, where it is another.

    Raises:
        UserError: if onnxruntime is not installed, or the file has other inputs or outputs.
    """

    def __init__(self, path: str | os.PathLike, *, session: Any = None, person: int | None = None):
        self._path = os.fspath(path)
        self._session = _session(self._path) if session is None else session
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) not in (3, 4) or len(outputs) not in (1, 3):
            raise UserError(
                f"{self._path}: {len(inputs)} inputs and {len(outputs)} outputs; expected one "
                "picture, and boxes, labels and scores, or the one output of YOLO"
            )
        self._input = inputs[0]
        self._is_yolo = len(outputs) == 1
        default = _YOLO_PERSON if self._is_yolo else _USUAL_PERSON
        self._person = default if person is None else person

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Find persons.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            (n, 5) x1, y1, x2, y2 in pixels, and scores.

        Raises:
            UserError: if the outputs are not the usual ones.
        """
        picture, scale = self._fitted(image)
        pixels = picture.transpose(2, 0, 1).astype(np.float32) / 255
        if len(self._input.shape) == 4:
            pixels = pixels[None]
        outputs = self._session.run(None, {self._input.name: pixels})
        rows = self._yolo_rows(outputs[0]) if self._is_yolo else self._usual_rows(outputs)
        rows[:, :4] /= scale
        height, width = image.shape[:2]
        rows[:, :4] = rows[:, :4].clip(0, (width, height) * 2)
        return rows[(rows[:, :2] < rows[:, 2:4]).all(axis=1)]

    def _fitted(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Bring a picture to the size of the input; also the factor on its pixels."""
        sides = [side if isinstance(side, int) else None for side in self._input.shape[-2:]]
        if sides == [None, None] and not self._is_yolo:
            return image, 1.0
        height, width = (side or _YOLO_SIDE for side in sides)
        scale = min(height / image.shape[0], width / image.shape[1])
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        fitted = np.full((height, width, 3), _GREY, dtype=np.uint8)
        fitted[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return fitted, scale

    def _usual_rows(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        is_batched = any(x.ndim == 3 and x.shape[::2] == (1, 4) for x in outputs)
        arrays = [x[0] for x in outputs] if is_batched else list(outputs)
        boxes = [x for x in arrays if x.ndim == 2 and x.shape[1] == 4]
        labels = [x for x in arrays if x.ndim == 1 and x.dtype.kind in "iu"]
        scores = [x for x in arrays if x.ndim == 1 and x.dtype.kind == "f"]
        lengths = {len(x) for x in arrays}
        if not (len(boxes) == len(labels) == len(scores) == len(lengths) == 1):
            raise UserError(f"{self._path}: {_shapes(outputs)}; expected boxes, labels and scores")
        rows = np.column_stack([boxes[0], scores[0]]).astype(np.float64)
        return rows[(labels[0] == self._person) & (rows[:, 4] >= _MIN_SCORE)]

    def _yolo_rows(self, output: np.ndarray) -> np.ndarray:
        if output.ndim != 3 or len(output) != 1 or not 4 + self._person < output.shape[1] < 1000:
            raise UserError(f"{self._path}: {_shapes([output])}; expected YOLO's (1, 4 + C, N)")
        table = torch.from_numpy(output[0].astype(np.float64))
        scores = table[4 + self._person]
        kept = (scores >= _MIN_SCORE).nonzero()[:, 0]
        kept = kept[scores[kept].argsort(descending=True, stable=True)][:_MOST_CANDIDATES]
        boxes = box_convert(table[:4, kept].T, "cxcywh", "xyxy")
        alone = nms(boxes, scores[kept], _NMS_IOU)
        return torch.cat([boxes[alone], scores[kept][alone, None]], dim=1).numpy()


def _session(path: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"{path}: an ONNX detector needs onnxruntime; pip install 'tubedet[onnx]'"
        ) from None
    try:
        return onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    except Exception as error:  # its errors have no common class
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: onnxruntime cannot read it: {reason}") from error


def _shapes(outputs: Sequence[np.ndarray]) -> str:
    return "outputs " + ", ".join(str(tuple(x.shape)) for x in outputs)
