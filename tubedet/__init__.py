"""tubedet: spatio-temporal action detection on detectron2.

Importing the package registers its backbones, architectures and data sets with detectron2.
"""

from .parent_process import ended_with_parent_at_start
from .third_party_warnings import silenced_third_party_warnings

__version__ = "0.1.0"  # pyproject.toml reads it here

with ended_with_parent_at_start(), silenced_third_party_warnings():
    from . import data, modeling
    from .config import add_tubedet_config
    from .engine import load_model
    from .inference import VideoActionDetector

__all__ = ["VideoActionDetector", "add_tubedet_config", "data", "load_model", "modeling"]
