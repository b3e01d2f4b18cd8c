"""Configs and released weights by name."""

from .configs import config_names, get_config_file
from .fetching import fetch_release, fetch_url, fetched_file, local_weights
from .releases import ReleasedModel, check_weights_name, find_release, released_models

__all__ = [
    "ReleasedModel",
    "check_weights_name",
    "config_names",
    "fetch_release",
    "fetch_url",
    "fetched_file",
    "find_release",
    "get_config_file",
    "local_weights",
    "released_models",
]
