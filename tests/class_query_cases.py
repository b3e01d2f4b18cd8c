"""Rebuilds the weights and inputs behind stored outputs of the public class-query detector.

A case is NAME.json and NAME.npz. What is not stored is drawn by name, so that a model of 140 M
parameters needs a few hundred kilobytes: an entry of ``weights`` or ``drawn_inputs`` is null
(stored as ``w/<key>``) or [shape, scale, shift, "abs"], of which the last two may be missing.
"""

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_cases import ReferenceCase

FIXTURES = Path(__file__).parent / "fixtures" / "class_query"
LARGE = Path(__file__).parents[2] / "shared" / "reference" / "class_query"
# Of the published model, which never uses them.
UNUSED = re.compile(r"\.(cls_layers\.\d+\.q_proj|decoder\.cls_norm)\.")


class ClassQueryCase(ReferenceCase):
    """A stored case, from the repository or from the folder beside the checkout."""

    def __init__(self, name: str):
        path = FIXTURES / name
        if not path.with_suffix(".json").exists():
            path = LARGE / name
        if not path.with_suffix(".json").exists():
            pytest.skip(f"the reference case {name} is not at {LARGE}")
        super().__init__(path)

    def _drawn(self, name: str, entry: list) -> torch.Tensor:
        shape, scale, *rest = entry
        seed = (zlib.crc32(name.encode()) + 7919 * self.meta["seed"]) % 2**32
        value = np.random.RandomState(seed).standard_normal(int(np.prod(shape)))
        value = value.astype(np.float32).reshape(shape)
        value = np.abs(value) if "abs" in rest else value
        value = np.float32(scale) * value
        return torch.from_numpy(value + np.float32(rest[0]) if rest else value)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights under their released names, each tensor under one of them."""
        return {
            key: torch.from_numpy(self.outputs[f"w/{key}"])
            if entry is None
            else self._drawn(key, entry)
            for key, entry in self.meta["weights"].items()
        }

    def inputs(self, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
        """The inputs of a block; floating-point numbers in ``dtype``."""
        found = {
            name: self._drawn(f"in/{name}", entry)
            for name, entry in self.meta["drawn_inputs"].items()
        }
        for name in self.outputs.files:
            if name.startswith("in/"):
                found[name.removeprefix("in/")] = torch.from_numpy(self.outputs[name])
        return {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in found.items()
        }

    def cotangent(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """What an output is multiplied with before its sum is differentiated."""
        return self._drawn(f"cot/{name}", [list(like.shape), 1.0]).to(like.dtype)

    def compare(self, name: str, found: torch.Tensor, tolerance: float) -> None:
        """Assert that the stored part of an output is met.

        The difference is relative to the largest expected value; of outputs, if that is above 1.
        """
        expected = self.outputs[f"out/{name}"]
        step = re.search(r"every (\d+)th", self.meta["subsampled"].get(name, "every 1th"))
        found = found.detach()[..., :: int(step[1])]
        assert found.shape == expected.shape, name
        largest = np.abs(expected).max()
        scale = largest if name.startswith("grad_") else max(1.0, largest)
        difference = np.abs(found.numpy() - expected).max()
        assert difference <= tolerance * scale, f"{name}: {difference / scale}"


def module_weights(case: ClassQueryCase, prefix: str = "") -> dict[str, torch.Tensor]:
    """Weights of a part of the model, under our names: one convolution block, nothing unused."""
    weights = {}
    for key, value in case.state_dict().items():
        if UNUSED.search(f".{prefix}{key}"):
            continue
        weights[key.replace("conv_blocks.0.", "conv_block.")] = value
    return weights
