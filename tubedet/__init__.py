"""tubedet: spatio-temporal action detection on detectron2.

Importing the package registers its backbones, architectures and data sets with detectron2.
"""

from . import data, modeling
from .config import add_tubedet_config
from .engine import load_model

__all__ = ["add_tubedet_config", "data", "load_model", "modeling"]
