"""The commands: ``tubedet NAME``, and ``tools/*.py``, which start the same modules."""
