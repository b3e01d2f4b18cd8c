#!/usr/bin/env python
"""Draw the ground truth of a data set: `tubedet visualize`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("visualize"))
