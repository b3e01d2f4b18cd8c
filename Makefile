# make demo   install, make the toy data set, train, evaluate, and draw a video
# make test   install and run the test suite, on all cores
# make gpu-tests  install and run the tests that need a GPU
# make gpu-speed  measure kernels, detection and training on a GPU; results in output/gpu
# make kills  kill commands 100 times at places spread over their runs; table in output/kills
# make lint   ruff check and format, and mypy
# make docs   build the pages of docs/ into site/
# make toy-table   train every architecture on the toy data set three times and compare them
#
# PYTHON  interpreter to start from           VENV  environment to make; empty: use PYTHON itself
# PARTS   what gpu-speed measures: tuber, kernels, others; empty: all
# GPU_DEVICE  device of gpu-tests; cpu tries what they do where there is no GPU
# DEMO    where the demo writes its results   DATASETS  folder of data sets

PYTHON ?= python3
VENV ?= .venv
GPU_DEVICE ?= cuda
DEMO ?= output/demo
DATASETS ?= $(or $(DETECTRON2_DATASETS),datasets)

ifeq ($(strip $(VENV)),)
RUN := $(PYTHON)
else
RUN := $(VENV)/bin/python
endif

.PHONY: setup test kills gpu-tests gpu-speed lint docs demo toy-table
.DEFAULT_GOAL := demo

setup:
	@sh tools/install.sh "$(PYTHON)" "$(VENV)"

test: setup
	@OMP_NUM_THREADS=1 "$(RUN)" -m pytest --numprocesses auto --dist loadfile

kills: setup
	@"$(RUN)" datasets/make_toy_ava.py --output "$(DATASETS)/ava_toy"
	@OMP_NUM_THREADS=1 PYTHONPATH="$(CURDIR):$(CURDIR)/tests" \
	    DETECTRON2_DATASETS="$(abspath $(DATASETS))" "$(RUN)" -m kills.kill_table

gpu-tests: setup
	@"$(RUN)" -m pytest tests/gpu tests/layers/cuda tests/modeling/backbone/csn --gpu-device $(GPU_DEVICE)

gpu-speed: setup
	@sh tools/measure_gpu.sh "$(RUN)" output/gpu $(PARTS)

lint: setup
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
	@"$(RUN)" -m mypy

# Once the extra is installed, nothing is loaded from other computers.
docs: setup
	@"$(RUN)" -c 'import mkdocs, material, mkdocstrings_handlers.python' 2>/dev/null || \
	    "$(RUN)" -m pip install -qq --disable-pip-version-check \
	        $$("$(RUN)" tools/list_requirements.py docs)
	@NO_MKDOCS_2_WARNING=1 "$(RUN)" -m mkdocs build --quiet --strict
	@echo "Open site/index.html"

demo: setup
	@sh tools/run_toy_demo.sh "$(RUN)" "$(DATASETS)" "$(DEMO)"

toy-table: setup
	@"$(RUN)" datasets/make_toy_ava.py --output "$(DATASETS)/ava_toy"
	@DETECTRON2_DATASETS="$(DATASETS)" "$(RUN)" tools/compare_on_toy.py --output output/toy_table
