# make demo   install, make the toy data set, train, evaluate, and draw a video
# make test   install and run the test suite
# make lint   ruff check and format
#
# PYTHON  interpreter to start from           VENV  environment to make; empty: use PYTHON itself
# DEMO    where the demo writes its results   DATASETS  folder of data sets

PYTHON ?= python3
VENV ?= .venv
DEMO ?= output/demo
DATASETS ?= $(or $(DETECTRON2_DATASETS),datasets)

ifeq ($(strip $(VENV)),)
RUN := $(PYTHON)
else
RUN := $(VENV)/bin/python
endif

.PHONY: setup test lint demo
.DEFAULT_GOAL := demo

setup:
	@sh tools/install.sh "$(PYTHON)" "$(VENV)"

test: setup
	@"$(RUN)" -m pytest

lint: setup
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .

demo: setup
	@sh tools/run_toy_demo.sh "$(RUN)" "$(DATASETS)" "$(DEMO)"
