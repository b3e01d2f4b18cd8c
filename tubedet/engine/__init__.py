"""Training, evaluation and inference drivers."""

from .model_loading import load_model
from .run_setup import load_config, setup_run
from .trainer import Trainer

__all__ = ["Trainer", "load_config", "load_model", "setup_run"]
