"""From a dataset dict of a key frame to the input of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from tubedet.data.datasets.action_tubes import annotated_frames, other_persons, tube_boxes
from tubedet.data.datasets.custom import ensure_registered
from tubedet.data.memory_store import MemoryStore
from tubedet.data.video.reader import VideoError, VideoReaderCache
from tubedet.data.video.video_file import VideoFileReader
from tubedet.errors import UserError

from .augmentation import ClipAugInput, build_clip_augmentations
from .broken_videos import BrokenVideoPolicy
from .clip_instances import (
    annotated_instances,
    given_boxes,
    given_instances,
    multi_hot_actions,
    pixel_boxes,
)
from .clip_sampling import clip_offsets, clip_spacing, clip_times, stored_times
from .device_augmentation import DEFERRABLE

# What a dataset dict has in pixels of the stored video, and a model's input in those of the clip.
_STORED_BOXES = (
    "annotations",
    "proposal_boxes",
    "proposal_scores",
    "proposal_bbox_mode",
)


class ClipDatasetMapper:
    """Reads the clip around a key frame, augments it, and makes tensors of it.

    A callable for detectron2's data loaders. The result is a dict with everything of the dataset
    dict but its annotations, and

    * ``clip``: uint8 tensor (3, T, H, W), RGB, contiguous, the key frame in slot ``T // 2`` unless
      ``frame_shift`` moves it;
    * ``height``, ``width``: size of the stored video, pixels, in which results are wanted;
    * ``instances`` (training, or with ``annotated``): :class:`Instances` of N persons with
      ``gt_boxes`` (XYXY in pixels of the clip, float32) and ``gt_actions`` (float32 (N, A),
      multi-hot). Data sets which are annotated frame by frame add ``gt_tubes`` (float32
      (N, T, 4), XYXY in pixels of the clip, NaN in frames where a person has no box);
    * ``other_persons`` (beside ``gt_tubes``): :class:`Instances` of the persons who are seen in
      other frames of the clip alone, with ``gt_tubes`` and ``gt_actions``;
    * ``frame_annotated`` (likewise): bool array (T,), whether the video has a frame and the data
      set annotates it. A clip that reaches beyond its video repeats the first or last frame;
    * ``proposals`` (where the dataset dict has ``proposal_boxes``, detectron2's key for boxes that
      are given): :class:`Instances` with ``proposal_boxes`` (XYXY in pixels of the clip, float32)
      and ``scores`` (float32 (n,), of ``proposal_scores``, or 1), those of boxes that the clip
      shows;
    * ``memory`` and ``memory_offsets`` (with a ``memory_store``): what was seen around the key
      frame, float16 (M, D), and when, float32 (M,), in seconds from the key frame.

    In training None is returned, and detectron2 then draws another key frame, when all boxes of a
    key frame fall outside of the random crop (as TubeR does) or when it cannot be read and
    ``max_broken_keyframes`` allows to go on. In evaluation an unreadable key frame is always an
    error: leaving it out or replacing it would falsify the result without a trace.

    Args:
        is_train: whether to yield instances, and to skip instead of to stop (see above).
        augmentations: applied in this order; see
            :func:`~tubedet.data.augmentation.build_clip_augmentations`.
        num_frames: T, frames of a clip.
        frame_stride: distance of neighbouring frames, counted in frames of rate ``fps``.
        fps: frames per second in which the stride counts; the rate of the stored video may
            differ. In data sets which are annotated frame by frame it counts stored frames.
        frame_shift: frames, counted likewise, by which the clip is late; see
            :func:`~tubedet.data.clip_sampling.clip_offsets`.
        num_actions: A, action classes.
        min_box_area: boxes with at most this area within the clip are dropped, square pixels.
        min_box_share: boxes with a smaller share of their area within the clip are dropped.
        max_broken_keyframes: distinct unreadable key frames which each loader process may skip
            in training.
        max_open_videos: videos which each loader process keeps open.
        min_decoded_side: jpg frames may be decoded at a reduced size whose short side is at
            least this, pixels: the largest one to which the first augmentation resizes. None
            means always in full.
        augment_on_device: leave flip, crop and colours of training clips to
            :func:`~tubedet.data.device_augmentation.finish_clips`. Instead of ``clip`` there are
            then ``frames``, uint8 (T, H, W, 3), and ``deferred``, the transforms that they lack.
        ground_truth_boxes: without ``proposal_boxes``, the annotated boxes take their place in
            evaluation.
        memory_store: folder of a :class:`~tubedet.data.memory_store.MemoryStore`; None: no memory.
        memory_span: seconds before and after the key frame that are read from it.
        annotated: evaluation clips have ``instances``, too, for the losses on a test set.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        num_frames: int,
        frame_stride: float,
        fps: float,
        num_actions: int,
        frame_shift: float = 0,
        min_box_area: float = 30.0,
        min_box_share: float = 0.0,
        max_broken_keyframes: int = 0,
        max_open_videos: int = 8,
        min_decoded_side: int | None = None,
        augment_on_device: bool = False,
        ground_truth_boxes: bool = False,
        memory_store: str | None = None,
        memory_span: tuple[float, float] = (0.0, 0.0),
        annotated: bool = False,
    ):
        self.is_train = is_train
        self.has_instances = is_train or annotated
        self.augmentations = T.AugmentationList(augmentations)
        self.num_frames = num_frames
        self.frame_stride = frame_stride
        self.frame_shift = frame_shift
        self.fps = fps
        self.num_actions = num_actions
        self.min_box_area = min_box_area
        self.min_box_share = min_box_share
        self._broken_videos = BrokenVideoPolicy(max_broken_keyframes if is_train else 0)
        self.min_decoded_side = min_decoded_side
        self._deferrable = DEFERRABLE if augment_on_device and is_train else ()
        self.ground_truth_boxes = ground_truth_boxes and not is_train
        self._readers = VideoReaderCache(max_open_videos)
        self._memories = None if memory_store is None else MemoryStore(memory_store)
        self.memory_span = memory_span

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True, annotated: bool = False) -> dict:
        """Return the arguments of the constructor according to a config."""
        clip, memory = cfg.INPUT.CLIP, cfg.MODEL.MEMORY
        short_sides = cfg.INPUT.MIN_SIZE_TRAIN if is_train else (cfg.INPUT.MIN_SIZE_TEST,)
        augmentations = build_clip_augmentations(
            is_train=is_train,
            short_sides=short_sides,
            max_size=cfg.INPUT.MAX_SIZE_TRAIN if is_train else cfg.INPUT.MAX_SIZE_TEST,
            crop_short_side=clip.CROP_SHORT_SIDE,
            flip=cfg.INPUT.RANDOM_FLIP,
            hsv_jitter=clip.HSV_JITTER,
            short_side_sampling=cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING,
            crop_shape=clip.CROP_SHAPE,
            round_long_side=clip.ROUND_LONG_SIDE,
        )
        frame_stride, frame_shift = clip_spacing(
            num_frames=clip.NUM_FRAMES,
            frame_stride=clip.FRAME_STRIDE,
            frame_shift=clip.FRAME_SHIFT,
            span=clip.SPAN,
        )
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "num_frames": clip.NUM_FRAMES,
            "frame_stride": frame_stride,
            "frame_shift": frame_shift,
            "fps": clip.FPS,
            "num_actions": cfg.MODEL.NUM_ACTIONS,
            "min_box_area": clip.MIN_BOX_AREA,
            "min_box_share": clip.MIN_BOX_SHARE,
            "max_broken_keyframes": cfg.DATALOADER.MAX_BROKEN_KEYFRAMES,
            "min_decoded_side": max(short_sides),
            "augment_on_device": clip.AUGMENT_ON_DEVICE,
            "ground_truth_boxes": cfg.TEST.GROUND_TRUTH_BOXES,
            "memory_store": memory.STORE if memory.ENABLED else None,
            "memory_span": (memory.WINDOW, 0 if memory.PAST_ONLY else memory.WINDOW),
            "annotated": annotated,
        }

    def __call__(self, dataset_dict: dict) -> dict | None:
        """Map one key frame.

        Args:
            dataset_dict: as made by :func:`tubedet.data.datasets.ava.load_ava`; it is not changed.

        Returns:
            The input of the model, or None if another key frame shall be drawn (training only).

        Raises:
            VideoError: if the video cannot be read.
            ValueError: if the stored video has another size than the dataset dict says, or an
                action lies outside of the ``num_actions`` classes.
        """
        try:
            frames, (height, width) = self.read_clip(dataset_dict)
        except VideoError as error:
            self._broken_videos.handle(
                error,
                video_id=dataset_dict["video_id"],
                timestamp=dataset_dict["timestamp"],
            )
            return None
        _check_size(dataset_dict, height, width)
        mapped = {key: value for key, value in dataset_dict.items() if key not in _STORED_BOXES}
        mapped.update(height=height, width=width)

        annotations = dataset_dict.get("annotations", []) if self.has_instances else []
        scale = frames.shape[1] / height  # below 1 if the frames were decoded at a reduced size
        given, scores = given_boxes(
            dataset_dict, height, width, ground_truth=self.ground_truth_boxes
        )
        boxes = np.concatenate((pixel_boxes(annotations, height, width), given)) * scale
        tubes = None
        others: list[dict] = []
        if self.has_instances and "frame_number" in dataset_dict:
            others, tubes, mapped["frame_annotated"] = self._tubes(dataset_dict)
            tubes = tubes * scale
        aug_input = ClipAugInput(frames, boxes=boxes, tubes=tubes, deferrable=self._deferrable)
        self.augmentations(aug_input)
        if self._deferrable:
            mapped["frames"] = torch.from_numpy(np.ascontiguousarray(aug_input.frames))
            mapped["deferred"] = aug_input.deferred
        else:
            channels_first = np.ascontiguousarray(aug_input.frames.transpose(3, 0, 1, 2))
            mapped["clip"] = torch.from_numpy(channels_first)
        boxes, given = np.split(aug_input.boxes, [len(annotations)])
        smallest = {"min_area": self.min_box_area, "min_share": self.min_box_share}
        if scores is not None:
            limits = smallest if self.is_train else {"min_area": 0.0}
            mapped["proposals"] = given_instances(given, scores, aug_input, **limits)
        if self._memories is not None:
            mapped.update(self._memory_around(dataset_dict))
        if self.has_instances:
            actions = multi_hot_actions(annotations + others, self.num_actions, dataset_dict)
            mapped["instances"], elsewhere = annotated_instances(
                boxes, actions, aug_input, **smallest
            )
            if elsewhere is not None:
                mapped["other_persons"] = elsewhere
            if self.is_train and annotations and len(mapped["instances"]) == 0:
                return None
        return mapped

    def read_clip(self, dataset_dict: dict) -> tuple[np.ndarray, tuple[int, int]]:
        """Read the frames of the clip, jpgs perhaps at a reduced size, and their stored size.

        Args:
            dataset_dict: needs ``video`` and ``fps``, and ``frame_number`` or ``timestamp`` and
                ``start_second``.

        Returns:
            uint8 array (T, H, W, 3), RGB, and the stored (height, width) in pixels, which are
            H and W or 2, 4 or 8 times that.

        Raises:
            VideoError: if the video cannot be read.
        """
        reader = self._readers.open(dataset_dict["video"], folder_fps=dataset_dict["fps"])
        if "frame_number" in dataset_dict:
            frames = reader.read_numbered(
                dataset_dict["frame_number"],
                self._frame_offsets(),
                min_short_side=self.min_decoded_side,
            )
        else:
            times = clip_times(
                dataset_dict["timestamp"],
                num_frames=self.num_frames,
                frame_stride=self.frame_stride,
                frame_shift=self.frame_shift,
                fps=self.fps,
            )
            times = stored_times(times, start_second=dataset_dict["start_second"])
            frames = reader.read(times, tick=1 / self.fps, min_short_side=self.min_decoded_side)
        if isinstance(reader, VideoFileReader):
            reader.damage.warn_once(reader.num_frames)
        return frames, (reader.height, reader.width)

    def clip_size(self, dataset_dict: dict) -> tuple[int, int]:
        """Return the (height, width) of the clip of a key frame, without reading it.

        Args:
            dataset_dict: its ``height`` and ``width`` may be missing; the result then is (0, 0).

        Returns:
            pixels; where the augmentations draw a size, of the largest one.
        """
        height, width = dataset_dict.get("height"), dataset_dict.get("width")
        if height is None or width is None:
            return 0, 0
        for augmentation in self.augmentations.augs:
            if hasattr(augmentation, "largest_size"):
                height, width = augmentation.largest_size(height, width)
        return height, width

    def _memory_around(self, dataset_dict: dict) -> dict:
        assert self._memories is not None
        (time,) = stored_times(
            np.array([dataset_dict["timestamp"]]), start_second=dataset_dict["start_second"]
        )
        before, after = self.memory_span
        found = self._memories.around(dataset_dict["video_id"], time, before=before, after=after)
        return {"memory": found.vectors, "memory_offsets": (found.times - time).float()}

    def _tubes(self, dataset_dict: dict) -> tuple[list[dict], np.ndarray, np.ndarray]:
        """Find what is annotated in all frames of the clip.

        Returns:
            annotations of M persons who are not in the key frame; float64 (N + M, T, 4), the boxes
            of its N persons and of those, stored pixels; bool (T,), the annotated frames.
        """
        ensure_registered(dataset_dict["dataset"])
        numbers = dataset_dict["frame_number"] + self._frame_offsets()
        others = other_persons(dataset_dict, numbers)
        everybody = {**dataset_dict, "annotations": dataset_dict["annotations"] + others}
        reader = self._readers.open(dataset_dict["video"], folder_fps=dataset_dict["fps"])
        num_stored = reader.count_frames()
        return (
            others,
            tube_boxes(everybody, numbers, num_stored=num_stored),
            annotated_frames(dataset_dict, numbers, num_stored=num_stored),
        )

    def _frame_offsets(self) -> np.ndarray:
        """(T,) int, distances of the frames of a clip from the key frame, in stored frames."""
        return clip_offsets(
            self.num_frames, frame_stride=self.frame_stride, frame_shift=self.frame_shift
        )


def _check_size(dataset_dict: dict, height: int, width: int) -> None:
    expected = dataset_dict.get("height"), dataset_dict.get("width")
    if expected not in ((None, None), (height, width)):
        raise UserError(
            f"{dataset_dict['video']}: frames of {width}x{height} pixels, but the data set says "
            f"{expected[1]}x{expected[0]}: correct that (AVA: video_info.csv), or store them so"
        )


# The earlier name, which people have in their scripts.
AVADatasetMapper = ClipDatasetMapper
