"""The measurement of kernels, in Triton's interpreter where there is no GPU."""

import argparse

import pytest
import torch
from benchmarking import kernels

from tubedet.errors import UserError
from tubedet.layers.cuda import availability
from tubedet.modeling.backbone.csn.cuda import depthwise


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs an NVIDIA GPU"):
        kernels.run(argparse.Namespace())


def test_every_case_is_measured(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(availability, "runs_kernels", lambda x: True)
    sizes = {"small": (8, 2, 4, 4, (1, 1, 1)), "strided": (8, 2, 4, 4, (2, 2, 2))}
    monkeypatch.setattr(kernels, "SIZES", sizes)
    monkeypatch.setattr(kernels, "PYRAMID", [(2, 3), (1, 2)])
    options = argparse.Namespace(batch_size=1, dtype="float16", block_numbers=[64, 512], repeats=1)
    before = depthwise._BLOCK_NUMBERS
    result = kernels.run(options)
    assert depthwise._BLOCK_NUMBERS == before
    names = [case["name"] for case in result["cases"] if case["size"] == "small"]
    assert len(names) == len(set(names)) == 9 and "depthwise, blocks of 64" in names
    assert result["cases"][0]["gb"] == 2 * 2 * 8 * 2 * 4 * 4 / 1e9
    assert all(case["milliseconds"]["median"] > 0 for case in result["cases"])
    names = [case["name"] for case in result["cases"] if case["size"] == "encoder of D2"]
    assert len(names) == len(set(names)) == 4 and "deformable attention, both ways" in names
    assert len(kernels.table(result).splitlines()) == 1 + 2 * 9 + 4
