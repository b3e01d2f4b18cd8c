#!/usr/bin/env python
"""Turn COCO-style json of videos into a custom data set: `tubedet import coco-video`."""

import sys

from tubedet.cli.running import run_command

if __name__ == "__main__":
    sys.exit(run_command("import", ["coco-video", *sys.argv[1:]]))
