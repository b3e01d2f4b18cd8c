"""Annotations of other tools in, a custom data set out."""
