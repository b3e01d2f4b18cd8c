"""Training and evaluation: trainer, optimiser, processes."""

from .config_loading import load_config, load_released_config
from .launching import check_processes, launch_processes
from .model_loading import fetch_weights, load_model
from .run_setup import setup_run
from .torchrun import check_started_once
from .trainer import Trainer

__all__ = [
    "Trainer",
    "check_processes",
    "check_started_once",
    "fetch_weights",
    "launch_processes",
    "load_config",
    "load_model",
    "load_released_config",
    "setup_run",
]
