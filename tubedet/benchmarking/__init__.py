"""Measurements of speed and memory; ``tools/benchmark.py`` is their command line."""
