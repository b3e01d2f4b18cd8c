"""Architectures in detectron2's META_ARCH_REGISTRY."""

from .class_query import ClassQueryDetector
from .clip_detector import ClipDetector
from .clip_model import ClipModel
from .deformable_tuber import DeformableTubeR
from .roi_action_detector import RoIActionDetector
from .seqformer import SeqFormer
from .sparse_rcnn import SparseRCNN
from .stmixer import STMixer
from .tuber import TubeR

__all__ = [
    "ClassQueryDetector",
    "ClipDetector",
    "ClipModel",
    "DeformableTubeR",
    "RoIActionDetector",
    "SeqFormer",
    "STMixer",
    "SparseRCNN",
    "TubeR",
]
