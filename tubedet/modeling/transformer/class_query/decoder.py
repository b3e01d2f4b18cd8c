"""Decoder of the class-query detector: pairs of a localizing and a classifying layer."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tubedet.layers import LayerNorm, PreciseLinear, as_autocast, sine_encoding

from .classifying import ClassifyingLayer
from .grid import FrameMemory
from .localizing import LocalizingLayer


@dataclass
class DecodedLayer:
    """What one pair of decoder layers finds in N frames.

    Attributes:
        queries: (N, Q, C), normed.
        boxes: (N, Q, 4), cxcywh as fractions of the unpadded clip.
        action_logits: (N, Q, K); None without classes.
        class_vectors: (N, Q, K, C), of which they are made; None without classes.
        class_attention: (N, Q, K, H, W), where each class looks; None if it was not asked for.
    """

    queries: torch.Tensor
    boxes: torch.Tensor
    action_logits: torch.Tensor | None = None
    class_vectors: torch.Tensor | None = None
    class_attention: torch.Tensor | None = None


class Perceptron(nn.Module):
    """Linear layers with a ReLU between each two.

    Args:
        *channels: of the input, the hidden layers and the output.
        precise: the last layer is at least float32, also under autocast.
    """

    def __init__(self, *channels: int, precise: bool = False):
        super().__init__()
        pairs = list(zip(channels, channels[1:]))
        layers: list[nn.Module] = [nn.Linear(*pair) for pair in pairs[:-1]]
        layers.append((PreciseLinear if precise else nn.Linear)(*pairs[-1]))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., first channels) -> (..., last channels)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu_()
        return self.layers[-1](x)


class ClassQueryDecoder(nn.Module):
    """Anchors become boxes of persons, and queries of classes their action logits.

    Every localizing layer refines the anchors and hands features and memory of every query to the
    classifying layer beside it. An action logit is the mean of the normed vector of its class: what
    distinguishes the classes is ``class_queries`` alone, one row for each.

    Args:
        num_layers: pairs of layers.
        num_classes: K; 0: no classifying layers.
        dim: channels C, a multiple of 4.
        num_heads: attention heads.
        feedforward_dim: channels of the feed-forward layers.
        dropout: of attention weights, feed-forward and residuals.
        action_dropout: on the normed vectors of the classes. At first this dropout alone makes
            their means differ from zero.
        num_levels: levels of the memory.
        mask_classes: see :class:`ClassifyingLayer`.
        repeat_equal_work: see :class:`LocalizingLayer` and :class:`ClassifyingLayer`.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        num_classes: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        action_dropout: float,
        num_levels: int,
        mask_classes: bool = False,
        repeat_equal_work: bool = False,
    ):
        super().__init__()
        layer: dict[str, Any] = {
            "dim": dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
            "repeat_equal_work": repeat_equal_work,
        }
        self.layers: Iterable[Any] = nn.ModuleList(
            LocalizingLayer(is_first=index == 0, num_levels=num_levels, **layer)
            for index in range(num_layers)
        )
        self.norm = LayerNorm(dim)
        self.ref_point_head = Perceptron(2 * dim, dim, dim)
        self.ref_anchor_head = Perceptron(dim, dim, 2, precise=True)
        # The first content is zero, so the first layer does not scale by it.
        self.query_scale: Any = Perceptron(dim, dim, dim) if num_layers > 1 else None
        self.cls_layers: Any = [None] * num_layers
        if num_classes:
            self.cls_layers = nn.ModuleList(
                ClassifyingLayer(mask_classes=mask_classes, **layer) for _ in range(num_layers)
            )
            self.class_queries = nn.Embedding(num_classes, dim)
            self.cls_norm2 = LayerNorm(dim)
            self.action_dropout = nn.Dropout(action_dropout)
        self.dim = dim

    def forward(
        self,
        memory: FrameMemory,
        anchors: torch.Tensor,
        box_head: Any,
        all_layers: bool = True,
        with_attention: bool = False,
    ) -> list[DecodedLayer]:
        """Decode N frames.

        The gradient of a box reaches the anchors of its own layer, and through them the refinement
        in the layer before, but no further: the anchors that a layer attends with are detached.
        That of the actions does not enter the actor features.

        Args:
            memory: of the frames.
            anchors: (N, Q, 4) cxcywh in 0..1, the first ones.
            box_head: a :class:`~tubedet.modeling.heads.BoxHead`; it belongs to the caller.
            all_layers: return the earlier layers too.
            with_attention: return the class attention of the last layer.

        Returns:
            the layers asked for, first to last.
        """
        content, classes = None, self.class_queries.weight if any(self.cls_layers) else None
        refined = anchors  # as seen by the reported boxes
        outputs = []
        last = len(self.cls_layers) - 1
        for index, (localizing, classifying) in enumerate(zip(self.layers, self.cls_layers)):
            code = self._code(anchors)
            query_pos = self.ref_point_head(code)
            sine = self._modulated(code[..., : self.dim], content, anchors)
            content, actor, own = localizing(content, memory, query_pos, sine)
            attention = None
            if classifying is not None:
                classes, attention = classifying(
                    classes,
                    actor.detach(),
                    own,
                    memory.pos,
                    memory.mask,
                    sine,
                    memory.shape,
                    with_attention=with_attention and index == last,
                )
            if all_layers or index == last:
                outputs.append(self._output(content, refined, classes, box_head))
            if attention is not None:
                outputs[-1].class_attention = attention.unflatten(-1, memory.shape)
            if index < last:
                refined = box_head.refine(content, anchors)
                anchors = refined.detach()
        return outputs

    def _output(self, content, refined, classes, box_head):
        queries = self.norm(content)
        logits = None
        if classes is not None:
            logits = self.action_dropout(self.cls_norm2(classes)).mean(-1)
        return DecodedLayer(queries, box_head.refine(queries, refined), logits, classes)

    def _code(self, anchors):
        """Sine code (N, Q, 2 · C) of the anchors, in the order y, x, width, height."""
        order = torch.stack([anchors[..., side] for side in (1, 0, 2, 3)], dim=-1)
        return as_autocast(sine_encoding(order * (2 * math.pi), self.dim // 2).flatten(-2))

    def _modulated(self, code, content, anchors):
        """Code (N, Q, C) of the centres, scaled by the content and by the sides of the anchors."""
        if content is None:
            sides = self.ref_anchor_head(torch.zeros_like(code))
        else:
            code = code * self.query_scale(content)
            sides = self.ref_anchor_head(content)
        # Width belongs to x, which is the second half.
        factor = (sides.sigmoid() / anchors[..., 2:]).flip(-1).to(code.dtype)
        return (code.unflatten(-1, (2, -1)) * factor[..., None]).flatten(-2)
