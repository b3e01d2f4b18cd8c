#!/usr/bin/env python
"""Serve a web page on which a model can be tried: `tubedet web`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("web"))
