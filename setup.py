"""Package metadata of tubedet; `make setup` is the short way to install it with detectron2."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+?)"', (ROOT / "tubedet" / "__init__.py").read_text("utf-8"), re.MULTILINE
)[1]

setup(
    name="tubedet",
    version=VERSION,
    description="Spatio-temporal action detection on detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=("tubedet", "tubedet.*")),
    # This is the default. Stated, it makes an editable install put this folder on sys.path;
    # otherwise setuptools installs a finder, which loses to a folder "tubedet" beside a script.
    package_dir={"": "."},
    package_data={"tubedet.data.datasets": ["label_maps/*.pbtxt"]},
    # detectron2 is not on PyPI and so not listed, see docs/install.md; what it imports is. The
    # lower bounds are releases that were tried on Python 3.10, or the first without a fault that
    # files of strangers could use.
    install_requires=[
        "av>=14.1",
        "cloudpickle>=2.2",
        "fvcore>=0.1.5.post20221221",
        "hydra-core>=1.3.2",
        "iopath>=0.1.9",
        "matplotlib>=3.9",
        "numpy>=2.0",
        "omegaconf>=2.3",
        "opencv-python>=4.13",  # CVE-2025-53644: JPEG 2000
        "packaging>=22",
        "Pillow>=12.3",  # CVE-2026-25990 and others: writes outside of an image's memory
        "pycocotools>=2.0.8",
        "PyYAML>=6.0",
        "safetensors>=0.4.3",
        "scipy>=1.13",
        # 78.1.1: CVE-2025-47273. detectron2.model_zoo imports pkg_resources, which 82 dropped.
        "setuptools>=78.1.1,<82",
        "tabulate>=0.9",
        "tensorboard>=2.18",
        "termcolor>=1.1",
        "torch>=2.10",  # CVE-2026-24747: torch.load(weights_only=True)
        "torchvision>=0.25",  # the one for torch 2.10
        "tqdm>=4.66.3",  # CVE-2024-34062
        "yacs>=0.1.8",
    ],
    extras_require={
        "dev": ["hypothesis", "pytest", "pytest-xdist", "ruff"],
        "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=1.0"],
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
        "web": ["gradio>=6.31"],
    },
)
