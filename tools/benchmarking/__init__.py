"""Measurement of speed and memory, for tools/benchmark.py; not part of the installed package."""
