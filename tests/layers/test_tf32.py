"""TF32, whichever interface has set it; in processes of their own, whose settings stay."""

import subprocess
import sys

import pytest
import torch

from tubedet.layers import products_like_convolutions, without_tf32

SETTINGS = """
import runpy
import torch

without_tf32 = runpy.run_path("tubedet/layers/tf32.py")["without_tf32"]  # and nothing else
matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn

def read(setting):
    try:
        return setting()
    except RuntimeError:
        return "contradiction"

def settings():
    found = [read(torch.get_float32_matmul_precision), read(lambda: matmul.allow_tf32)]
    found += [read(lambda: cudnn.allow_tf32), cudnn.enabled, torch.backends.fp32_precision]
    parts = (matmul, cudnn, cudnn.conv, cudnn.rnn, torch.backends.mkldnn.matmul)
    return [*found, *(part.fp32_precision for part in parts)]

{change}
before = settings()
with without_tf32():
    within = settings()
assert within[1:3] == [False, False], within
assert [within[5], *within[7:9]] == ["ieee"] * 3, within
after = settings()
# A contradiction cannot be set back; it may be gone.
assert len(before) == len(after)
for one, other in zip(before, after):
    assert one in (other, "contradiction"), (before, after)
"""


@pytest.mark.parametrize(
    "change",
    [
        "",
        "torch.set_float32_matmul_precision('medium')",
        "matmul.allow_tf32 = True; cudnn.allow_tf32 = False",
        "torch.backends.fp32_precision = 'tf32'",
        "matmul.fp32_precision = 'tf32'; cudnn.conv.fp32_precision = 'ieee'",
        "cudnn.fp32_precision = 'ieee'; matmul.allow_tf32 = True",
    ],
)
def test_it_is_off_within_and_as_before_afterwards(change):
    code = SETTINGS.format(change=change)
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_it_is_set_back_after_an_error():
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), without_tf32():
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 == before
    assert torch.backends.cudnn.conv.fp32_precision == ("tf32" if before else "none")


def test_pytorch_can_trace_within():
    with without_tf32():
        program = torch.export.export(torch.nn.Linear(2, 3), (torch.zeros(1, 2),))
    assert program.module()(torch.zeros(1, 2)).shape == (1, 3)


def test_products_follow_convolutions(monkeypatch):
    products = torch.backends.cuda.matmul
    before = products.fp32_precision, products.allow_tf32
    with products_like_convolutions():
        assert products.fp32_precision == "tf32" and products.allow_tf32
    assert (products.fp32_precision, products.allow_tf32) == before
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with products_like_convolutions():
        assert (products.fp32_precision, products.allow_tf32) == before
