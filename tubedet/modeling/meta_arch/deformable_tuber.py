"""Deformable TubeR: deformable DETR on the key frame of a clip, in three published variants.

The variants D2 (plain), D3 (a DETR first) and D4 (TubeR's context branch classifies) are those of
the public experiment jinsingsangsung/tuber; transformer, box refinement, two-stage option and
initialisation are those of Deformable DETR (https://arxiv.org/abs/2010.04159), actions and losses
those of TubeR (https://arxiv.org/abs/2104.00969).
"""

from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import sine_position_encoding_2d
from tubedet.modeling.backbone import MultiLevelProjection, TemporalCollapse
from tubedet.modeling.backbone.map_shapes import map_shapes
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.heads import BoxHead, ContextActionHead, heads_of_layers, set_prior
from tubedet.modeling.losses import LayerOutput
from tubedet.modeling.transformer import (
    DeformableTransformer,
    DETRTransformer,
    EncoderProposals,
    deformable_arguments,
)

from .context_detector import ContextDetector

# Initial width and height of boxes that start from points, before the sigmoid.
INITIAL_SIZE_LOGIT = -2.0
# Initial probability that an encoder cell proposes a person.
PROPOSAL_PRIOR = 0.01


@META_ARCH_REGISTRY.register()
class DeformableTubeR(ContextDetector):
    """Backbone pyramid, collapsed in time, and a deformable DETR for persons and actions.

    Args:
        num_queries: Q.
        num_frames: frames of a clip, T; fixes the temporal convolutions.
        hidden_dim: channels C of the transformers.
        num_heads: attention heads of the transformers.
        feedforward_dim: hidden channels of their feed-forward layers.
        enc_layers: encoder layers.
        dec_layers: decoder layers.
        dropout: of all attention and feed-forward layers.
        num_levels: see :class:`DeformableTransformer`.
        enc_points: likewise.
        dec_points: likewise.
        box_refine: likewise.
        two_stage: queries start from proposals of the encoder, see :class:`EncoderProposals`.
        detr_first: a plain DETR on the last backbone map makes the positions of the queries (D3).
        context_actions: actions from :class:`ContextActionHead` on the last backbone map (D4)
            instead of a linear layer.
        collapse_context: it sees one time step, the convolution over all steps, instead of all.
        collapse_norm: see :class:`TemporalCollapse`.
        action_dropout: see :class:`ContextActionHead`.
        mask_context: likewise.
        repeat_equal_work: likewise.
        action_prior: initial probability of every action; without effect on exclusive actions.
        triton: see :class:`MultiScaleDeformableAttention`.
        **detector: arguments of :class:`ClipDetector`; the backbone returns several 5-D maps. Each
            query decides between person and no object, unless actions are exclusive: then "no
            object" is one of the actions.

    Raises:
        UserError: for options that exclude each other, or clips of an unsuitable length.
    """

    @configurable
    def __init__(
        self,
        *,
        num_queries: int,
        num_frames: int,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        enc_layers: int,
        dec_layers: int,
        dropout: float,
        num_levels: int,
        enc_points: int,
        dec_points: int,
        box_refine: bool,
        two_stage: bool,
        detr_first: bool,
        context_actions: bool,
        collapse_context: bool,
        collapse_norm: str,
        action_dropout: float,
        action_prior: float,
        mask_context: bool,
        repeat_equal_work: bool = False,
        triton: bool = False,
        **detector: Any,
    ):
        super().__init__(**detector)
        _check_options(box_refine, two_stage, detr_first, self.aux_loss)
        shapes = map_shapes(self.backbone, type(self).__name__, "temporal_stride")
        self.in_features = list(shapes)
        channels = [shape.channels for shape in shapes.values()]
        steps = [-(-num_frames // shape.temporal_stride) for shape in shapes.values()]
        self.input_proj = MultiLevelProjection(channels, hidden_dim, num_levels)
        steps += [steps[-1]] * (num_levels - len(steps))
        self.temporal_collapse = TemporalCollapse(hidden_dim, steps, collapse_norm)

        transformer: dict[str, Any] = {
            "dim": hidden_dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "enc_layers": enc_layers,
            "dec_layers": dec_layers,
            "dropout": dropout,
        }
        self.transformer = DeformableTransformer(
            **transformer,
            num_levels=num_levels,
            enc_points=enc_points,
            dec_points=dec_points,
            box_refine=box_refine,
            learned_references=not two_stage,
            triton=triton,
        )
        self.dec_layers = dec_layers
        num_sets = dec_layers if box_refine else 1  # without refinement layers share their heads
        self.box_heads = _box_heads(hidden_dim, num_sets, two_stage)
        self.detr: DETRTransformer | None = None
        self.proposals: EncoderProposals | None = None
        if two_stage:
            self.proposals = EncoderProposals(hidden_dim, num_queries)
            self.proposal_box_head = _box_heads(hidden_dim, 1, two_stage)[0]
            self.proposal_person_head = _classifier(hidden_dim, 1, PROPOSAL_PRIOR)
        elif detr_first:
            self.detr = DETRTransformer(**transformer)
            self.query_embed = nn.Embedding(num_queries, hidden_dim)
            self.query_content = nn.Embedding(num_queries, hidden_dim)
        else:
            # Position and content of each query, in this order.
            self.query_embed = nn.Embedding(num_queries, 2 * hidden_dim)

        self.person_head = None if self.exclusive else nn.Linear(hidden_dim, 3)
        prior = 0.5 if self.exclusive else action_prior
        self.action_head: ContextActionHead | None = None
        self.action_heads: nn.ModuleList | None = None
        if context_actions and not self.person_only:
            self.action_head = ContextActionHead(
                in_channels=channels[-1],
                dim=hidden_dim,
                num_heads=num_heads,
                feedforward_dim=feedforward_dim,
                num_outputs=self.num_outputs,
                dropout=dropout,
                action_dropout=action_dropout,
                action_prior=prior,
                mask_context=mask_context,
                context_steps=steps[-1] if collapse_context else 1,
                repeat_equal_work=repeat_equal_work,
            )
        elif not self.person_only:
            self.action_heads = nn.ModuleList(
                _classifier(hidden_dim, self.num_outputs, prior) for _ in range(num_sets)
            )
        self.add_memory_reader(hidden_dim)

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        node = cfg.MODEL.DEFORMABLE_TUBER
        return {
            **cls.shared_arguments(cfg, node),
            "num_queries": node.NUM_QUERIES,
            "num_frames": cfg.INPUT.CLIP.NUM_FRAMES,
            **deformable_arguments(node),
            "two_stage": node.TWO_STAGE,
            "detr_first": node.DETR_FIRST,
            "context_actions": node.CONTEXT_ACTIONS,
            "collapse_context": node.COLLAPSE_CONTEXT,
            "collapse_norm": node.COLLAPSE_NORM,
            "action_dropout": node.ACTION_DROPOUT,
            "action_prior": node.ACTION_PRIOR,
            "mask_context": node.MASK_CONTEXT,
            "triton": cfg.MODEL.DEFORMABLE_TRITON,
        }

    def predict(
        self, clips: ClipBatch, all_layers: bool = False, with_attention: bool = False
    ) -> list[LayerOutput]:
        """Raw predictions of all queries.

        Args:
            clips: normalised and padded.
            all_layers: also those of the earlier decoder layers and, before them, the proposals
                of the encoder, if it makes any.
            with_attention: see :meth:`ContextDetector.predict`.

        Returns:
            predictions of the layers asked for, first to last.
        """
        features = self.features(clips)
        maps = [features[name] for name in self.in_features]
        levels = self.temporal_collapse(self.input_proj(maps))
        masks = [clips.mask_at(*x.shape[-2:]) for x in levels]
        positions = [sine_position_encoding_2d(mask, levels[0].shape[1]) for mask in masks]
        memory, tokens = self.transformer.encode(levels, positions, masks)

        outputs: list[LayerOutput] = []
        references = None
        if self.proposals is not None:
            found = self.proposals(
                memory, tokens, self.proposal_person_head, self.proposal_box_head
            )
            query_pos, content, references = found.query_pos, found.content, found.references
            if all_layers:
                outputs.append(LayerOutput(found.logits, found.boxes, is_proposal=True))
        elif self.detr is not None:
            last = len(maps) - 1
            x, pos = levels[last][:, :, None], positions[last][:, :, None].to(levels[last].dtype)
            query_pos = self.detr(x, pos, masks[last][:, None], self.query_embed.weight)[-1]
            content = self.query_content.weight.expand_as(query_pos)
        else:
            queries = self.query_embed.weight.expand(memory.shape[0], -1, -1)
            query_pos, content = queries.chunk(2, dim=-1)
        box_heads = heads_of_layers(self.box_heads, self.dec_layers)
        queries, boxes = self.transformer.decode(
            content, query_pos, memory, tokens, box_heads, references
        )

        wanted = slice(None) if all_layers else slice(-1, None)
        queries, boxes = queries[wanted], boxes[wanted]
        action_logits: Iterable[torch.Tensor | None] = [None] * len(queries)
        action_features, attention = queries, None
        if self.action_head is not None:
            mask = masks[len(maps) - 1]
            action_logits, action_features, attention = self.action_head(
                queries, maps[-1], mask, details=True, with_attention=with_attention
            )
        elif self.action_heads is not None:
            heads = heads_of_layers(self.action_heads, self.dec_layers)[wanted]
            action_logits = [head(x) for head, x in zip(heads, queries)]
        person_logits: Iterable[torch.Tensor | None] = [None] * len(queries)
        if self.person_head is not None:
            person_logits = self.person_head(queries)
        layers = [LayerOutput(*layer) for layer in zip(action_logits, boxes, person_logits)]
        layers = self.with_features(layers, action_features)
        return outputs + self.with_context_attention(layers, attention)


def _check_options(box_refine: bool, two_stage: bool, detr_first: bool, aux_loss: bool) -> None:
    if two_stage and detr_first:
        raise UserError(
            "MODEL.DEFORMABLE_TUBER.TWO_STAGE and DETR_FIRST both choose where queries start; "
            "set one of them to False"
        )
    if two_stage and not box_refine:
        raise UserError(
            "MODEL.DEFORMABLE_TUBER.TWO_STAGE proposes boxes to be refined; set BOX_REFINE to True"
        )
    if box_refine and not aux_loss:
        raise UserError(
            "MODEL.DEFORMABLE_TUBER.BOX_REFINE gives every decoder layer heads of its own, which "
            "only the losses of that layer train; set MODEL.CRITERION.AUX_LOSS to True"
        )


def _box_heads(dim: int, number: int, boxes_as_references: bool) -> nn.ModuleList:
    """Heads whose boxes are at first their references; the first may start from points."""
    heads = [BoxHead(dim) for _ in range(number)]
    for index, head in enumerate(heads):
        from_points = index == 0 and not boxes_as_references
        head.start_at_references(INITIAL_SIZE_LOGIT if from_points else 0.0)
    return nn.ModuleList(heads)


def _classifier(dim: int, num_outputs: int, prior: float) -> nn.Linear:
    """Give the outputs of a linear layer this probability under a sigmoid at first."""
    classifier = nn.Linear(dim, num_outputs)
    set_prior(classifier, prior)
    return classifier
