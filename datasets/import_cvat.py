#!/usr/bin/env python
"""Turn exports of CVAT into a custom data set: `tubedet import cvat`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("import", ["cvat", *sys.argv[1:]]))
