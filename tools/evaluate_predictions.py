#!/usr/bin/env python
"""Compute the figures of files of predictions, and compare them: `tubedet evaluate`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("evaluate"))
