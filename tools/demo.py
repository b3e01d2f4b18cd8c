#!/usr/bin/env python
"""Detect actions in videos: `tubedet demo`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("demo"))
