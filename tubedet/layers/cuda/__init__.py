"""Layers as Triton kernels on NVIDIA GPUs, and where such kernels run.

Triton comes with PyTorch on Linux and compiles kernels when they first run; nothing is compiled at
installation.
"""
