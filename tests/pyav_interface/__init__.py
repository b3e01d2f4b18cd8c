"""Checks our uses of PyAV against its type stubs, without running them."""
