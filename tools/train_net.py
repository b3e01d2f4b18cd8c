#!/usr/bin/env python
"""Train or evaluate a config: `tubedet train`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("train"))
