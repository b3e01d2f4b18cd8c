#!/usr/bin/env python
"""Rename the weights of published checkpoints: `tubedet convert`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("convert"))
