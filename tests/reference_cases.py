"""Rebuilds the weights and clips behind stored outputs of published implementations.

A case is NAME.json (shape and scale of each weight of two or more dimensions, what was run) and
NAME.npz (the other weights as ``w/<key>``, and the outputs). Large weights are normal numbers from
numpy's legacy generator, seeded by the weight's name, so that 75 M parameters need one megabyte.

Gradients and whole models are compared in float64. In float32 the processor decides on which side
of its edge a ReLU falls, and a gradient behind it differs by more than any rounding. The outputs
are stored in float32, so they are met to its rounding.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path(__file__).parent / "fixtures" / "tuber"
BLOCKS = Path(__file__).parent / "fixtures" / "blocks"
VIDEO_VIT = Path(__file__).parent / "fixtures" / "video_vit"
# Too large for the repository; what needs them is skipped where they are not.
LARGE = Path(__file__).parents[2] / "shared" / "reference" / "tuber"
LARGE_BLOCKS = Path(__file__).parents[2] / "shared" / "reference" / "blocks"


class ReferenceCase:
    """One stored case; ``outputs`` are its arrays, ``meta`` its description."""

    def __init__(self, path: Path):
        self.meta = json.loads(path.with_suffix(".json").read_text())
        self.outputs = np.load(path.with_suffix(".npz"))
        self.runs = list(self.meta.get("runs", []))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights under their released names."""
        weights = {}
        for key, entry in self.meta["weights"].items():
            if entry is None:
                value = self.outputs[f"w/{key}"]
            else:
                shape, scale = entry
                value = np.float32(scale) * self.draw(key, shape).numpy()
            weights[key] = torch.from_numpy(np.array(value))
        return weights

    def drawn_input(self, name: str) -> torch.Tensor:
        """An input that is drawn by its name instead of stored: float32."""
        shape, scale, *shift = self.meta["drawn_inputs"][name]
        return scale * self.draw(f"in/{name}", shape) + sum(shift)

    def draw(self, key: str, shape) -> torch.Tensor:
        """Normal numbers that belong to a name: float32 of any shape."""
        seed = (zlib.crc32(key.encode()) + 7919 * self.meta["seed"]) % 2**32
        value = np.random.RandomState(seed).standard_normal(int(np.prod(shape)))
        return torch.from_numpy(value.astype(np.float32).reshape(tuple(shape)))

    def batch(self, run: str) -> torch.Tensor:
        """The clips of a run, of one size, with the statistics of the case: float64."""
        config = self.meta["config"]
        mean, std = (
            torch.tensor(config[key], dtype=torch.float64).view(3, 1, 1, 1)
            for key in ("pixel_mean", "pixel_std")
        )
        return (torch.stack(self.clips(run)).double() / 255 - mean) / std

    def tensor(self, name: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """A stored array; floating-point numbers in ``dtype``."""
        value = torch.from_numpy(self.outputs[name])
        return value.to(dtype) if value.is_floating_point() else value

    def clips(self, run: str) -> list[torch.Tensor]:
        """The clips of a run: uint8 (3, T, H, W)."""
        spec = self.meta["runs"][run]
        return [
            waves(seed, self.meta["num_frames"], h, w)
            for seed, (h, w) in zip(spec["seeds"], spec["sizes"])
        ]

    def target(self, run: str, b: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (N, 4) normalised cxcywh and labels, multi-hot (N, A) or int64 (N,)."""
        return tuple(
            torch.from_numpy(self.outputs[f"{run}/target{b}/{name}"])
            for name in ("boxes_cxcywh", "labels")
        )


def waves(seed: int, num_frames: int, height: int, width: int) -> torch.Tensor:
    rng = np.random.RandomState(seed)
    t = np.arange(num_frames).reshape(1, -1, 1, 1) / num_frames
    y = np.linspace(0, 1, height).reshape(1, 1, -1, 1)
    x = np.linspace(0, 1, width).reshape(1, 1, 1, -1)
    phase = rng.uniform(0, 2 * np.pi, (3, 1, 1, 1))
    wave = np.sin(2 * np.pi * (2 * x + 1.5 * y + 2 * t) + phase)
    noise = rng.standard_normal((3, num_frames, height, width))
    return torch.from_numpy(np.clip(120 + 45 * wave + 35 * noise, 0, 255).astype(np.uint8))


def assert_close(found: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Largest difference at most ``tolerance``, relative to the largest expected value above 1."""
    atol = tolerance * max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=atol)


def assert_rows_close(case: ReferenceCase, name: str, map_: torch.Tensor, tolerance: float) -> None:
    """Compare the stored rows of a map (B, C, T, H, W) = (b, t, y, x)."""
    rows = map_.detach().movedim(1, -1).flatten(0, 3)[case.outputs[f"{name}_rows"]]
    assert_relatively_close(rows, case.outputs[name], tolerance)


def assert_relatively_close(found: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Largest difference at most ``tolerance``, relative to the largest expected value."""
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=atol)


def assert_gradients_close(
    case: ReferenceCase, run: str, gradients: dict[str, torch.Tensor], tolerance: float
) -> None:
    """Compare stored parts of gradients; ``grad_input`` is that of the input."""
    for name, gradient in gradients.items():
        key = f"{run}/{name}" if name == "grad_input" else f"{run}/grad/{name}"
        found = gradient.flatten()[case.outputs[f"{key}_idx"]]
        assert_relatively_close(found, case.outputs[key], tolerance)


def stored_gradients(case: ReferenceCase, run: str) -> list[str]:
    """Names of the parameters whose gradients are stored."""
    start, end = f"{run}/grad/", "_idx"
    names = [key for key in case.outputs.files if key.startswith(start) and key.endswith(end)]
    return [name[len(start) : -len(end)] for name in names]
