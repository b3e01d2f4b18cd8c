"""Augmentation of clips: one draw, applied to all frames and to the boxes.

Everything here is a detectron2 :class:`~detectron2.data.transforms.Augmentation` or
:class:`~detectron2.data.transforms.Transform`, so that detectron2's own ones can be mixed in.
Random numbers come from numpy's global generator, which detectron2 seeds per loader worker.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from detectron2.data import transforms as T
from torch.nn import functional as F

from tubedet.errors import UserError


class ClipResizeTransform(T.ResizeTransform):
    """Resizes all frames of a clip at once, free of aliasing.

    PyTorch's uint8 filters widen when they shrink a picture, as Pillow's do: bicubic results are
    those of the Pillow resize in the published pipeline, to within 2 of 255 grey levels, in a sixth
    of its time.

    Args:
        h, w: size of the frames, pixels.
        new_h, new_w: size wanted, pixels.
        interp: "bicubic" or "bilinear".
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: str = "bicubic"):
        super().__init__(h, w, new_h, new_w, interp)

    def apply_image(self, img: np.ndarray, interp: str | None = None) -> np.ndarray:
        """Resize a picture or all frames of a clip.

        Args:
            img: uint8 (..., H, W, 3).
            interp: replaces the mode of the constructor.

        Returns:
            uint8 (..., new H, new W, 3).
        """
        channels_last = torch.from_numpy(np.ascontiguousarray(img)).view(-1, *img.shape[-3:])
        resized = F.interpolate(
            channels_last.permute(0, 3, 1, 2),
            size=(self.new_h, self.new_w),
            mode=interp or self.interp,
            antialias=True,
        )
        return (
            resized.permute(0, 2, 3, 1).numpy().reshape(*img.shape[:-3], self.new_h, self.new_w, 3)
        )


class HSVShiftTransform(T.Transform):
    """Adds constants to hue, saturation and value of a picture; boxes stay as they are.

    Args:
        hue: in OpenCV units of 2 degrees, wraps around at 180.
        saturation, value: in 0..255 units, clipped.
    """

    def __init__(self, hue: int, saturation: int, value: int):
        super().__init__()
        levels = np.arange(256)
        channels = (
            (levels + hue) % 180,
            np.clip(levels + saturation, 0, 255),
            np.clip(levels + value, 0, 255),
        )
        lookup = np.stack(channels, axis=-1).astype(np.uint8)[None]
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Shift the colours of a picture or of all frames of a clip.

        Args:
            img: uint8 (..., H, W, 3), RGB.

        Returns:
            uint8 array of the same shape, RGB.
        """
        shifted = np.empty(img.shape, np.uint8)
        frames = np.ascontiguousarray(img).reshape(-1, *img.shape[-3:])
        # One by one, because a frame fits into the caches of a core.
        for frame, result in zip(frames, shifted.reshape(frames.shape)):
            hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
            cv2.LUT(hsv, self.lookup, dst=hsv)
            cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=result)
        return shifted

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Coordinates do not change."""
        return coords


# Their apply_image takes (T, H, W, 3); detectron2's other transforms are applied frame by frame.
_WHOLE_CLIP_TRANSFORMS = (
    ClipResizeTransform,
    HSVShiftTransform,
    T.CropTransform,
    T.HFlipTransform,
    T.NoOpTransform,
)


class ClipAugInput(T.AugInput):
    """A clip and its boxes as the input of detectron2's augmentations.

    An augmentation sees the key frame as ``image``; the transform which it returns is applied to
    every frame.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        boxes: (N, 4), XYXY in pixels, of the key frame.
        tubes: (N, T, 4), XYXY in pixels, NaN where a frame has no box.
        deferrable: kinds of transforms that are not applied to the frames but collected. Boxes, and
            ``image``, go ahead.

    Attributes:
        frames: uint8 array (T, H, W, 3), RGB.
        deferred: transforms that the frames still lack, in order.
        boxes: float array (N, 4), XYXY in pixels of the frames, or None.
        tubes: float array (N, T, 4), a box per frame, NaN where there is none, or None.
    """

    boxes: np.ndarray | None
    image: np.ndarray

    def __init__(
        self,
        frames: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        tubes: np.ndarray | None = None,
        deferrable: tuple[type[T.Transform], ...] = (),
    ):
        super().__init__(frames[len(frames) // 2], boxes=boxes)
        self.frames = frames
        self.tubes = tubes
        self.deferred: list[T.Transform] = []
        self._deferrable = deferrable

    def transform(self, tfm: T.Transform) -> None:
        """Apply a transform to all frames and to the boxes, in place."""
        if isinstance(tfm, T.NoOpTransform):
            return
        if isinstance(tfm, self._deferrable):
            self.deferred.append(tfm)
            self.image = tfm.apply_image(self.image)
        else:
            for transform in (*self.deferred, tfm):  # in the order in which they came
                self.frames = _transformed(self.frames, transform)
            self.deferred = []
            self.image = self.frames[len(self.frames) // 2]
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.tubes is not None:
            self.tubes = tfm.apply_box(self.tubes.reshape(-1, 4)).reshape(self.tubes.shape)


def _transformed(frames: np.ndarray, tfm: T.Transform) -> np.ndarray:
    if isinstance(tfm, _WHOLE_CLIP_TRANSFORMS):
        return tfm.apply_image(frames)
    return np.stack([tfm.apply_image(frame) for frame in frames])


class ResizeShortSide(T.Augmentation):
    """Resizes the short side to a given length, keeping the aspect ratio.

    The long side is ``int(short * ratio)`` as in TubeR; detectron2's ``ResizeShortestEdge`` rounds,
    which gives another width for 340x256 videos.

    Args:
        short_sides: lengths to choose from, pixels.
        max_size: limit of the long side, pixels; where it is exceeded both sides shrink.
        interp: "bicubic" (published) or "bilinear".
        sampling: "choice": one of ``short_sides``; "range": any whole number from the first to the
            second of two.
        round_long_side: round the long side to the nearest pixel, as STMixer does.

    Raises:
        UserError: if a length is not positive, or there is no such sampling.
    """

    def __init__(
        self,
        short_sides: Sequence[int],
        max_size: int,
        interp: str = "bicubic",
        sampling: str = "choice",
        round_long_side: bool = False,
    ):
        super().__init__()
        short_sides = tuple(short_sides)
        if sampling not in ("choice", "range"):
            raise UserError(
                f"INPUT.MIN_SIZE_TRAIN_SAMPLING is {sampling!r}; give 'choice' or 'range'"
            )
        if sampling == "range" and not (len(short_sides) == 2 and short_sides[0] <= short_sides[1]):
            raise UserError(
                "INPUT.MIN_SIZE_TRAIN_SAMPLING is 'range'; give INPUT.MIN_SIZE_TRAIN a smallest "
                f"and a largest length, not {short_sides}"
            )
        if not short_sides or min(short_sides) < 1 or max_size < 1:
            raise UserError(
                f"sizes must be positive, got short sides {short_sides}, maximum {max_size}"
            )
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw the length; the transform is a :class:`ClipResizeTransform`."""
        height, width = image.shape[:2]
        if self.sampling == "range":
            short = int(np.random.randint(self.short_sides[0], self.short_sides[1] + 1))
        else:
            short = int(np.random.choice(self.short_sides))
        new_height, new_width = self._limited_size(height, width, short)
        if (new_height, new_width) == (height, width):
            return T.NoOpTransform()
        return ClipResizeTransform(height, width, new_height, new_width, self.interp)

    def largest_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the largest (height, width) that frames of a size may get, pixels."""
        return self._limited_size(height, width, max(self.short_sides))

    def _limited_size(self, height: int, width: int, short: int) -> tuple[int, int]:
        if max(size := _scaled_size(height, width, short, self.round_long_side)) > self.max_size:
            short = max(1, self.max_size * min(height, width) // max(height, width))
            return _scaled_size(height, width, short)
        return size


class RandomPlaceCrop(T.Augmentation):
    """Crops a window at a random place; the subclasses say how large it is."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw the place; the transform is a ``CropTransform``."""
        height, width = image.shape[:2]
        crop_height, crop_width = self.largest_size(height, width)
        if (crop_height, crop_width) == (height, width):
            return T.NoOpTransform()
        left = np.random.randint(width - crop_width + 1)
        top = np.random.randint(height - crop_height + 1)
        return T.CropTransform(left, top, crop_width, crop_height, width, height)

    def largest_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of the window in frames of a size, pixels."""
        raise NotImplementedError(f"{type(self).__name__}.largest_size")


class RandomSquareCrop(RandomPlaceCrop):
    """Crops a square at a random place, as VideoMAE-Action-Detection and UMT do.

    Args:
        side: of the square, pixels; of frames that are smaller, as much as there is.

    Raises:
        UserError: if it is not positive.
    """

    def __init__(self, side: int):
        super().__init__()
        if side < 1:
            raise UserError(f"the side of the crop must be positive, got {side}")
        self._init(locals())

    def largest_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of what is left of frames of a size, pixels."""
        return min(self.side, height), min(self.side, width)


class RandomAspectPreservingCrop(RandomPlaceCrop):
    """Crops a window with the aspect ratio of the frame at a random place, as TubeR does.

    Args:
        short_side: short side of the window, pixels; the long one is ``int(short * ratio)``.
            Frames which are smaller are left as they are.

    Raises:
        UserError: if it is not positive.
    """

    def __init__(self, short_side: int):
        super().__init__()
        if short_side < 1:
            raise UserError(f"the short side of the crop must be positive, got {short_side}")
        self._init(locals())

    def largest_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of what is left of frames of a size, pixels."""
        if min(height, width) <= self.short_side:
            return height, width
        return _scaled_size(height, width, self.short_side)


class RandomHSVJitter(T.Augmentation):
    """Shifts hue, saturation and value by whole numbers, drawn once per clip, as TubeR does.

    Args:
        hue, saturation, value: largest shift in either direction, OpenCV's uint8 HSV units
            (published: 10, 26, 26).

    Raises:
        UserError: if one is negative.
    """

    def __init__(self, hue: int, saturation: int, value: int):
        super().__init__()
        if min(hue, saturation, value) < 0:
            raise UserError(f"HSV shifts must not be negative, got {hue}, {saturation}, {value}")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw the three shifts, uniformly."""
        bounds = (self.hue, self.saturation, self.value)
        return HSVShiftTransform(*(int(np.random.randint(-b, b + 1)) for b in bounds))


# Values of INPUT.CLIP.CROP_SHAPE.
CROPS = {"frame": RandomAspectPreservingCrop, "square": RandomSquareCrop}


def build_clip_augmentations(
    *,
    is_train: bool,
    short_sides: Sequence[int],
    max_size: int,
    crop_short_side: int = 0,
    flip: str = "none",
    hsv_jitter: Sequence[int] = (0, 0, 0),
    short_side_sampling: str = "choice",
    crop_shape: str = "frame",
    round_long_side: bool = False,
) -> list[T.Augmentation]:
    """Build TubeR's published pipeline for AVA: resize, flip, crop, colours; when testing, resize.

    With ``crop_shape`` "square" it is that of the published video ViTs.

    Args:
        is_train: whether to add the random ones.
        short_sides: lengths of the short side to choose from, pixels (published: 288, testing 256).
        max_size: limit of the long side, pixels.
        crop_short_side: short side of the random crop, pixels (published: 256); 0 means no crop.
        flip: "horizontal" (with probability 0.5) or "none".
        hsv_jitter: largest shift of hue, saturation and value (published: 10, 26, 26).
        round_long_side: see :class:`ResizeShortSide`; when testing, too.
        short_side_sampling: how a length is chosen, see :class:`ResizeShortSide`.
        crop_shape: "frame" (its aspect ratio) or "square".

    Returns:
        Augmentations in the order in which they are applied.

    Raises:
        UserError: if ``flip``, ``short_side_sampling`` or ``crop_shape`` is none of its values, or
            a size is not allowed.
    """
    if flip not in ("horizontal", "none"):
        raise UserError(f"INPUT.RANDOM_FLIP must be 'horizontal' or 'none' for clips, got {flip!r}")
    if crop_shape not in CROPS:
        raise UserError(f"INPUT.CLIP.CROP_SHAPE is {crop_shape!r}; choose one of {list(CROPS)}")
    if not is_train:
        return [ResizeShortSide(short_sides, max_size, round_long_side=round_long_side)]
    augmentations: list[T.Augmentation] = [
        ResizeShortSide(
            short_sides, max_size, sampling=short_side_sampling, round_long_side=round_long_side
        )
    ]
    if flip == "horizontal":
        augmentations.append(T.RandomFlip(prob=0.5))
    if crop_short_side:
        augmentations.append(CROPS[crop_shape](crop_short_side))
    if any(hsv_jitter):
        augmentations.append(RandomHSVJitter(*hsv_jitter))
    return augmentations


def _scaled_size(height: int, width: int, short: int, nearest: bool = False) -> tuple[int, int]:
    """(height, width) with the given short side; the long side is rounded down or to nearest."""
    few, many = sorted((height, width))
    long = (2 * short * many + few) // (2 * few) if nearest else short * many // few
    return (short, long) if height <= width else (long, short)
