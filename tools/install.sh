#!/bin/sh
# Make a virtual environment (unless VENV is empty) and install tubedet and detectron2 into it.
#
#   sh tools/install.sh PYTHON VENV
#
# What is importable already is used as it is. A second run is quick.
set -eu
base_python=$1
venv=$2
cd "$(dirname "$0")/.."

if [ -n "$venv" ]; then
    [ -x "$venv/bin/python" ] || "$base_python" -m venv "$venv"
    python=$venv/bin/python
else
    python=$base_python
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "tubedet needs Python 3.10 or newer; $python is older (make PYTHON=...)" >&2
    exit 1
}

stamp=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/.tubedet-setup
wanted=$(cat setup.py requirements-detectron2.txt tools/install.sh | cksum; pwd)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "Installing tubedet into $("$python" -c 'import sys; print(sys.prefix)'); PyTorch is large ..."
"$python" -m pip install -qq --disable-pip-version-check --editable ".[dev]"
if ! "$python" -W ignore -c 'import detectron2' 2>/dev/null; then
    # The repack's files are plain Python but its wheel is tagged for one version, and its
    # requirements pin an old numpy; hence the explicit target and --no-deps.
    "$python" -m pip install -qq --disable-pip-version-check --no-deps \
        --only-binary=:all: --implementation cp --python-version 3.10 \
        --target "$(dirname "$stamp")" --requirement requirements-detectron2.txt
fi
"$python" -W ignore -c '
import sys, detectron2, torch, torchvision, tubedet
print("Python", sys.version.split()[0], "| torch", torch.__version__,
      "| torchvision", torchvision.__version__, "| detectron2", detectron2.__version__)'
printf '%s' "$wanted" > "$stamp"
