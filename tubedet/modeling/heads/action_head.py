"""TubeR's action head: queries look at the whole clip before they are classified."""

import math
from typing import Any

import torch
from torch import nn

from tubedet.layers import MultiHeadAttention
from tubedet.modeling.transformer import ContextEncoder


def heads_of_layers(heads: nn.ModuleList, num_layers: int) -> list[nn.Module]:
    """Return the head of each decoder layer.

    Args:
        heads: one for each layer, or one that all of them share.
        num_layers: number of layers.
    """
    return list(heads) if len(heads) == num_layers else [heads[0]] * num_layers


def set_prior(classifier: nn.Linear | nn.LayerNorm, prior: float) -> None:
    """Initialise a classifier's bias so that ``prior`` is every output's sigmoid at first.

    Args:
        classifier: a linear layer, or a norm whose outputs become one logit by their mean.
        prior: a probability.
    """
    nn.init.constant_(classifier.bias, math.log(prior / (1 - prior)))


class ContextActionHead(nn.Module):
    """Classify queries from what they gather in the encoded features of all time steps.

    As published the cross attention has neither residual, norm nor position code, and padded
    cells take part unless ``mask_context`` is set. The features are encoded once and serve all
    decoder layers, unless ``repeat_equal_work`` is set.

    Args:
        in_channels: channels of the backbone map.
        dim: channels C of the queries.
        num_heads: attention heads.
        feedforward_dim: channels of the encoder's MLP.
        num_outputs: logits per query.
        dropout: dropout inside attention and encoder.
        action_dropout: dropout before the classifier.
        action_prior: initial probability of every output under a sigmoid.
        mask_context: keep padded cells out of both attentions.
        context_steps: time steps that the projection of the features joins into one, without
            padding, so 1 keeps all steps and T leaves one.
        repeat_equal_work: encode a copy of the features for every decoder layer, as published.
            That gives each layer its own dropout, and is the same without.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        num_outputs: int,
        dropout: float,
        action_dropout: float,
        action_prior: float,
        mask_context: bool,
        context_steps: int = 1,
        repeat_equal_work: bool = False,
    ):
        super().__init__()
        self.repeat_equal_work = repeat_equal_work
        self.mask_context = mask_context
        self.context_proj = nn.Conv3d(in_channels, dim, (context_steps, 1, 1))
        self.context_encoder = ContextEncoder(
            dim=dim, num_heads=num_heads, feedforward_dim=feedforward_dim, dropout=dropout
        )
        self.cross_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.dropout = nn.Dropout(action_dropout)
        self.fc = nn.Linear(dim, num_outputs)
        if action_prior != 0.5:
            set_prior(self.fc, action_prior)

    def forward(
        self,
        queries: torch.Tensor,
        features: torch.Tensor,
        mask: torch.Tensor,
        *,
        details: bool = False,
        with_attention: bool = False,
    ) -> Any:
        """Compute the action logits of one or more decoder layers.

        Args:
            queries: (L, B, Q, C).
            features: backbone map (B, C', T, H, W).
            mask: bool (B, H, W), True on padded cells.
            details: return what the logits are made of, too.
            with_attention: with the attention, see :meth:`gather`.

        Returns:
            logits (L, B, Q, num_outputs); with ``details`` a tuple of them and the two results of
            :meth:`gather`.
        """
        gathered, attention = self.gather(queries, features, mask, with_attention)
        logits = self.fc(self.dropout(gathered))
        return (logits, gathered, attention) if details else logits

    def gather(
        self,
        queries: torch.Tensor,
        features: torch.Tensor,
        mask: torch.Tensor,
        with_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Let the queries look at the clip.

        Args:
            queries: as of the head, likewise the next two.
            features: likewise.
            mask: likewise.
            with_attention: return the attention too.

        Returns:
            (L, B, Q, C); where asked for, the weights (L, B, Q, T', H, W) with which queries read
            the cells of the T' time steps of the context, padding included, mean over the heads.
        """
        features = self.context_proj(features)
        context_mask = mask if self.mask_context else None
        if self.repeat_equal_work:
            # As if every layer of a clip were a clip of its own.
            features = features.repeat(len(queries), 1, 1, 1, 1)
            if context_mask is not None:
                context_mask = context_mask.repeat(len(queries), 1, 1)
            stacked = queries.flatten(0, 1)
        else:
            # All layers share the context: one attention over L·Q queries of each clip.
            stacked = queries.transpose(0, 1).flatten(1, 2)
        context = self.context_encoder(features, context_mask)
        token_mask = None
        if context_mask is not None:
            token_mask = context_mask.flatten(1).repeat(1, features.shape[2])
        gathered = self.cross_attn(stacked, context, context, token_mask)
        if not with_attention:
            return self._by_layer(gathered, len(queries)), None
        weights = self.cross_attn.weights(stacked, context, token_mask)
        weights = weights.unflatten(-1, features.shape[2:])
        return self._by_layer(gathered, len(queries)), self._by_layer(weights, len(queries))

    def _by_layer(self, x: torch.Tensor, num_layers: int) -> torch.Tensor:
        """Return rows of stacked queries as (L, B, Q, ...)."""
        if self.repeat_equal_work:
            return x.unflatten(0, (num_layers, -1))
        return x.unflatten(1, (num_layers, -1)).transpose(0, 1)
