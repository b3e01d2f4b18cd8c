"""How a CSN is executed on NVIDIA GPUs: matrix products on rows of channels, and Triton kernels.

Maps are (B, T, H, W, C) in a row, which is what PyTorch calls channels last. Triton comes with
PyTorch on Linux and compiles the kernels when they first run; nothing is compiled at installation.
"""
