#!/usr/bin/env python
"""Write a detector to a file that runs without tubedet: `tubedet export`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("export"))
