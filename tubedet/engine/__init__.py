"""Training and evaluation: trainer, optimiser, processes."""

from .config_loading import load_config, load_released_config
from .launchers import check_started_once
from .launching import check_processes, launch_processes
from .model_loading import fetch_start, fetch_weights, load_model
from .run_setup import keep_earlier_config, setup_run
from .trainer import Trainer

__all__ = [
    "Trainer",
    "check_processes",
    "check_started_once",
    "fetch_start",
    "fetch_weights",
    "keep_earlier_config",
    "launch_processes",
    "load_config",
    "load_model",
    "load_released_config",
    "setup_run",
]
