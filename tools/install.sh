#!/bin/sh
# Make a virtual environment (unless VENV is empty) and install tubedet and detectron2 into it.
#
#   sh tools/install.sh PYTHON VENV
#
# A PyTorch, torchvision or detectron2 that is there stays as it is. A second run is quick.
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
inputs="setup.py pyproject.toml requirements-detectron2.txt tools/install.sh"
wanted=$(cat $inputs tools/install_detectron2.py tools/list_requirements.py | cksum; pwd)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "Installing tubedet into $("$python" -c 'import sys; print(sys.prefix)'); PyTorch is large ..."
# Dependencies come second, because pip alone would replace a PyTorch that is too old.
"$python" -m pip install -qq --disable-pip-version-check --no-deps --editable .
requirements=$("$python" tools/list_requirements.py dev)
set -f # one requirement per line, and none is a pattern
"$python" -m pip install -qq --disable-pip-version-check $requirements
"$python" -W ignore tools/install_detectron2.py
"$python" -W ignore -c '
import sys, detectron2, torch, torchvision, tubedet
from tubedet.checkpoint.safe_loading import torch_warning
print("Python", sys.version.split()[0], "| torch", torch.__version__,
      "| torchvision", torchvision.__version__, "| detectron2", detectron2.__version__)
if torch_warning():
    print("warning: your PyTorch was left as it is.", torch_warning())'
printf '%s' "$wanted" > "$stamp"
