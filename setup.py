"""Package metadata of tubedet; `make setup` is the short way to install it with detectron2."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="tubedet",
    version="0.1.0",
    description="Spatio-temporal action detection on detectron2",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=("tubedet", "tubedet.*")),
    package_data={"tubedet.data": ["label_maps/*.pbtxt"]},
    # detectron2 is not on PyPI and so not listed, see the README; what it imports is.
    install_requires=[
        "av>=14",
        "cloudpickle",
        "fvcore",
        "hydra-core>=1.1",
        "iopath",
        "matplotlib",
        "numpy",
        "omegaconf>=2.1",
        "opencv-python",
        "packaging",
        "Pillow",
        "pycocotools>=2.0.2",
        "PyYAML",
        "safetensors",
        "scipy",
        "setuptools<81",  # detectron2 imports pkg_resources
        "tabulate",
        "tensorboard",
        "termcolor",
        "torch>=2.6",
        "torchvision",
        "tqdm",
        "yacs>=0.1.8",
    ],
    extras_require={
        "dev": ["hypothesis", "pytest", "pytest-xdist", "ruff"],
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
        "web": ["gradio>=6.31"],
    },
)
