#!/usr/bin/env python
"""Report every problem of data sets: `tubedet validate`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("validate"))
