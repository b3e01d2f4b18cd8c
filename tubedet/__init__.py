"""tubedet: spatio-temporal action detection on detectron2.

Importing the package registers its backbones, architectures and data sets with detectron2.
"""

from .third_party_warnings import silence_third_party_warnings

__version__ = "0.1.0"  # setup.py reads it here

silence_third_party_warnings()

from . import data, modeling  # noqa: E402
from .config import add_tubedet_config  # noqa: E402
from .engine import load_model  # noqa: E402
from .inference import VideoActionDetector  # noqa: E402

__all__ = ["VideoActionDetector", "add_tubedet_config", "data", "load_model", "modeling"]
