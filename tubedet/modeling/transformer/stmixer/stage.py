"""One stage of STMixer's decoder: queries look at each other, sample and mix, and then answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tubedet.layers import LayerNorm, MultiHeadAttention, PreciseLinear

from .box_state import box_sides, overlap_bias, position_code, refine_state
from .mixing import AdaptiveMixing
from .sampling import sample_maps, sampling_points

# Largest initial strength of the overlap in the attention.
_LARGEST_STRENGTH = 4.0
PERSON_CLASSES = 2  # person, no object


@dataclass
class StageOutput:
    """What a stage makes of N queries.

    Attributes:
        state: (B, N, 4), refined boxes, see :mod:`.box_state`.
        spatial: (B, N, C).
        temporal: likewise; None in a detector of persons.
        person_logits: (B, N, 2), person and no object; None if they were not asked for.
        action_logits: (B, N, K); None in a detector of persons, and as ``person_logits``.
        action_features: (B, N, 2 · C), of which they are made; None likewise.
    """

    state: torch.Tensor
    spatial: torch.Tensor
    temporal: torch.Tensor | None
    person_logits: torch.Tensor | None = None
    action_logits: torch.Tensor | None = None
    action_features: torch.Tensor | None = None


class SamplingMixing(nn.Module):
    """Features at points around the box of each query, mixed over points and over time steps.

    Args:
        dim: channels C of queries and maps.
        groups: G, of channels that have points of their own.
        num_points: P, of each group.
        num_steps: T of the maps; 0: nothing is mixed over time.
        out_multiplier: points that come out of a mixing for each that comes in.
    """

    def __init__(self, dim: int, groups: int, num_points: int, num_steps: int, out_multiplier: int):
        super().__init__()
        self.shape = (groups, num_points, 3)
        self.offset_generator = nn.Sequential(PreciseLinear(dim, groups * num_points * 3))
        for branch, number in {"s": num_points, "t": num_steps}.items():
            if number:
                mixing = AdaptiveMixing(dim, groups, number, out_multiplier * number)
                self.add_module(f"adaptive_mixing_{branch}", mixing)
                self.add_module(f"norm_{branch}", LayerNorm(dim))

    def reset_parameters(self) -> None:
        """Points spread over the box, one set for all queries, and mixing by a bias alone."""
        for name, module in self.named_modules():
            if name.endswith(("offset_generator.0", "parameter_generator.0")):
                layer: Any = module
                nn.init.zeros_(layer.weight)
        offsets: Any = self.offset_generator[0]
        with torch.no_grad():
            bias = offsets.bias.view(-1, 3)
            nn.init.uniform_(bias[:, :2], -0.5, 0.5)
            nn.init.zeros_(bias[:, 2])

    def forward(
        self,
        maps: Sequence[torch.Tensor],
        state: torch.Tensor,
        spatial: torch.Tensor,
        temporal: torch.Tensor | None,
        padded_sides: torch.Tensor,
        first_centre: float,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return both vectors (B, N, C) of the queries with what was read.

        Args:
            maps: see :func:`sample_maps`.
            state: (B, N, 4).
            spatial: (B, N, C); makes the points.
            temporal: likewise, or None.
            padded_sides: see :func:`sample_maps`.
            first_centre: likewise.
        """
        offsets = self.offset_generator(spatial).unflatten(-1, self.shape)
        points = sampling_points(offsets, state, box_sides(state))
        features = sample_maps(maps, points, padded_sides, first_centre)
        over_time = features.mean(3).permute(0, 3, 1, 4, 2)
        spatial = self._mix("s", over_time, spatial)
        if temporal is not None:
            over_points = features.mean(5).permute(0, 4, 1, 3, 2)
            temporal = self._mix("t", over_points, temporal)
        return spatial, temporal

    def _mix(self, branch: str, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        mixed = getattr(self, f"adaptive_mixing_{branch}")(x, query)
        return getattr(self, f"norm_{branch}")(mixed)


class STMixerStage(nn.Module):
    """Self-attention, sampling and mixing, feed-forward layers and heads, with names as released.

    Args:
        dim: channels C of queries and maps, a multiple of 8.
        num_actions: action logits K; 0: a detector of persons, without the temporal branch.
        num_heads: heads of the self-attention.
        feedforward_dim: hidden channels of the feed-forward layers.
        groups, num_points, num_steps, out_multiplier: see :class:`SamplingMixing`.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_actions: int,
        num_heads: int,
        feedforward_dim: int,
        groups: int,
        num_points: int,
        num_steps: int,
        out_multiplier: int,
    ):
        super().__init__()
        self.dim = dim
        self.has_actions = num_actions > 0
        self.iof_tau = nn.Parameter(torch.empty(num_heads).uniform_(0, _LARGEST_STRENGTH))
        for branch in ("s", "t") if self.has_actions else ("s",):
            attention = nn.ModuleDict({"attn": MultiHeadAttention(dim, num_heads)})
            self.add_module(f"attention_{branch}", attention)
            self.add_module(f"attention_norm_{branch}", LayerNorm(dim))
            self.add_module(f"ffn_{branch}", _feed_forward(dim, feedforward_dim))
            self.add_module(f"ffn_norm_{branch}", LayerNorm(dim))
        steps = num_steps if self.has_actions else 0
        self.samplingmixing = SamplingMixing(dim, groups, num_points, steps, out_multiplier)
        self.human_cls_fcs = _tower(dim)
        self.human_fc_cls = nn.Linear(dim, PERSON_CLASSES)
        self.reg_fcs = _tower(dim)
        self.fc_reg = PreciseLinear(dim, 4)
        if self.has_actions:
            self.action_cls_fcs = _tower(2 * dim)
            self.fc_action = nn.Linear(2 * dim, num_actions)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.samplingmixing.reset_parameters()
        nn.init.zeros_(self.fc_reg.weight)
        nn.init.zeros_(self.fc_reg.bias)

    def forward(
        self,
        maps: Sequence[torch.Tensor],
        state: torch.Tensor,
        spatial: torch.Tensor,
        temporal: torch.Tensor | None,
        padded_sides: torch.Tensor,
        first_centre: float,
        with_logits: bool = True,
    ) -> StageOutput:
        """Refine the queries.

        Args:
            maps: see :func:`sample_maps`.
            state: (B, N, 4), boxes of the stage before.
            spatial: (B, N, C).
            temporal: likewise; None in a detector of persons.
            padded_sides: see :func:`sample_maps`.
            first_centre: likewise.
            with_logits: whether persons and actions are asked for.
        """
        place = state.detach()
        code = position_code(place, self.dim)
        bias = overlap_bias(place, self.iof_tau)
        spatial = self._attend("s", spatial, code, bias)
        if temporal is not None:
            temporal = self._attend("t", temporal, code, bias)
        spatial, temporal = self.samplingmixing(
            maps, state, spatial, temporal, padded_sides, first_centre
        )
        spatial = self._feed_forward("s", spatial)
        if temporal is not None:
            temporal = self._feed_forward("t", temporal)
        refined = refine_state(state, self.fc_reg(self.reg_fcs(spatial)))
        output = StageOutput(refined, spatial, temporal)
        if with_logits:
            output.person_logits = self.human_fc_cls(self.human_cls_fcs(spatial))
            if temporal is not None:
                both = torch.cat((spatial, temporal), dim=-1)
                output.action_features = self.action_cls_fcs(both)
                output.action_logits = self.fc_action(output.action_features)
        return output

    def _attend(self, branch, x, code, bias):
        # The code also enters the values and the residual.
        x = x + code
        attended = getattr(self, f"attention_{branch}")["attn"](x, x, x, bias=bias)
        return getattr(self, f"attention_norm_{branch}")(x + attended)

    def _feed_forward(self, branch, x):
        hidden = getattr(self, f"ffn_{branch}")["layers"](x)
        return getattr(self, f"ffn_norm_{branch}")(x + hidden)


def _feed_forward(dim: int, hidden_dim: int) -> nn.ModuleDict:
    hidden = nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(inplace=True))
    return nn.ModuleDict({"layers": nn.Sequential(hidden, nn.Linear(hidden_dim, dim))})


def _tower(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), LayerNorm(dim), nn.ReLU(inplace=True))
