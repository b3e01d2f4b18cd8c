"""Training, evaluation and inference drivers."""

from .launching import argument_parser, check_processes, launch_processes
from .model_loading import load_model
from .run_setup import load_config, setup_run
from .torchrun import check_started_once
from .trainer import Trainer
from .video_detector import DetectedFrame, KeyFrameResult, VideoActionDetector

__all__ = [
    "DetectedFrame",
    "KeyFrameResult",
    "Trainer",
    "VideoActionDetector",
    "argument_parser",
    "check_processes",
    "check_started_once",
    "launch_processes",
    "load_config",
    "load_model",
    "setup_run",
]
