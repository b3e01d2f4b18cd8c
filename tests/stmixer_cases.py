"""Stored outputs of STMixer, and small parts whose every weight is random."""

from pathlib import Path

import torch
from reference_cases import ReferenceCase

from tubedet.modeling.transformer.stmixer import STMixerStage

FIXTURES = Path(__file__).parent / "fixtures" / "stmixer"


def stmixer_case(name: str) -> ReferenceCase:
    """One stored case."""
    return ReferenceCase(FIXTURES / name)


def drawn(case: ReferenceCase, name: str, shape) -> torch.Tensor:
    """An input that is drawn by its name: float64, a leaf that takes a gradient."""
    return case.draw(f"in/{name}", shape).double().requires_grad_()


def drawn_maps(case: ReferenceCase) -> list[torch.Tensor]:
    """The drawn maps of a case, fine to coarse."""
    shapes = case.meta["config"]["features"][1]
    return [drawn(case, f"level{level}", shape) for level, shape in enumerate(shapes)]


def padded_sides(maps: list[torch.Tensor], stride: int = 4) -> torch.Tensor:
    """Width and height of the padded clip behind maps, the first of this stride."""
    height, width = maps[0].shape[-2:]
    return torch.tensor([width * stride, height * stride], dtype=maps[0].dtype)


def random_stage(num_actions: int = 5, **options) -> STMixerStage:
    """A small stage whose every weight is random: float64."""
    sizes = {"dim": 16, "num_heads": 2, "feedforward_dim": 8, "groups": 2, "num_points": 3}
    sizes |= {"num_steps": 2, "out_multiplier": 2, **options}
    torch.manual_seed(0)
    stage = STMixerStage(num_actions=num_actions, **sizes).double()
    for parameter in stage.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return stage
