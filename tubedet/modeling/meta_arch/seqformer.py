"""SeqFormer on video: one query per person, whose boxes are found frame by frame.

Wu et al., "SeqFormer: Sequential Transformer for Video Instance Segmentation", ECCV 2022
(https://arxiv.org/abs/2112.08275), after wjf5203/SeqFormer, without masks and with several
actions per person.
"""

from typing import Any

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import sine_position_encoding_2d
from tubedet.modeling.backbone import MultiLevelProjection, StepPooling
from tubedet.modeling.backbone.map_shapes import map_shapes
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.heads import BoxHead, heads_of_layers, set_prior
from tubedet.modeling.losses import LayerOutput
from tubedet.modeling.transformer import SeqFormerTransformer, deformable_arguments

from .clip_detector import ClipDetector


@META_ARCH_REGISTRY.register()
class SeqFormer(ClipDetector):
    """Maps at a common number of time steps, and SeqFormer's transformer on them.

    The boxes of step T' // 2 are those of the key frame. The others are trained only where tubes
    are annotated, see :meth:`ClipDetector.forward`.

    Args:
        num_queries: Q.
        num_steps: T', time steps in which boxes are predicted; the backbone's maps are pooled to
            as many. It divides the number of frames so that step T' // 2 is the key frame's.
        hidden_dim: channels C of the transformer.
        num_heads: attention heads of the transformer.
        feedforward_dim: hidden channels of its feed-forward layers.
        enc_layers: encoder layers.
        dec_layers: decoder layers.
        dropout: of all attention and feed-forward layers.
        num_levels: resolutions of the features; see :class:`MultiLevelProjection`.
        enc_points: points that each head of the encoder samples on each level.
        dec_points: likewise in the decoder.
        box_refine: every decoder layer refines the boxes of the one before, with heads of its
            own. Otherwise the layers share their heads and the first reference points.
        action_prior: initial probability of every independent action.
        triton: see :class:`MultiScaleDeformableAttention`.
        **detector: arguments of :class:`ClipDetector`.

    Raises:
        UserError: if layers with heads of their own would get no loss.
    """

    @configurable
    def __init__(
        self,
        *,
        num_queries: int,
        num_steps: int,
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
        action_prior: float,
        triton: bool = False,
        **detector: Any,
    ):
        super().__init__(**detector)
        if box_refine and dec_layers > 1 and not self.aux_loss:
            raise UserError(
                "MODEL.CRITERION.AUX_LOSS must be True with BOX_REFINE: references are detached "
                "between layers, so without a loss of its own no layer but the last would learn "
                "to place boxes"
            )
        self.num_steps = num_steps
        self.step_pooling = StepPooling(num_steps)
        shapes = map_shapes(self.backbone, type(self).__name__)
        channels = [shape.channels for shape in shapes.values()]
        self.input_proj = MultiLevelProjection(channels, hidden_dim, num_levels)
        self.query_embed = nn.Embedding(num_queries, 2 * hidden_dim)
        self.transformer = SeqFormerTransformer(
            dim=hidden_dim,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            enc_layers=enc_layers,
            dec_layers=dec_layers,
            dropout=dropout,
            num_levels=num_levels,
            enc_points=enc_points,
            dec_points=dec_points,
            box_refine=box_refine,
            triton=triton,
        )
        self.dec_layers = dec_layers
        num_own_heads = dec_layers if box_refine else 1
        action_heads = [nn.Linear(hidden_dim, self.num_outputs) for _ in range(num_own_heads)]
        box_heads = [BoxHead(hidden_dim) for _ in range(num_own_heads)]
        self.action_heads, self.box_heads = nn.ModuleList(action_heads), nn.ModuleList(box_heads)
        for index, (action_head, box_head) in enumerate(zip(action_heads, box_heads)):
            if not self.exclusive:
                set_prior(action_head, action_prior)
            box_head.start_at_references(size_logit=-2.0 if index == 0 else 0.0)
        self.add_memory_reader(hidden_dim)

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        node = cfg.MODEL.SEQFORMER
        return {
            **cls.shared_arguments(cfg, node),
            "num_queries": node.NUM_QUERIES,
            "num_steps": node.NUM_STEPS,
            **deformable_arguments(node),
            "action_prior": node.ACTION_PRIOR,
            "triton": cfg.MODEL.DEFORMABLE_TRITON,
        }

    def predict(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """Raw predictions of all queries.

        Args:
            clips: normalised and padded.
            all_layers: also those of the earlier decoder layers.

        Returns:
            predictions of the decoder layers asked for, first to last, with boxes in all T' steps.

        Raises:
            UserError: if no step is centred on the key frame.
        """
        self._check_num_frames(clips.tensor.shape[2])
        features = self.features(clips)
        # Pooled before the projection, which then has fewer steps to do.
        maps = self.input_proj([self.step_pooling(x) for x in features.values()])
        masks = [clips.mask_at(*x.shape[-2:]) for x in maps]
        positions = [sine_position_encoding_2d(mask, maps[0].shape[2]) for mask in masks]
        queries, boxes = self.transformer(
            maps,
            positions,
            masks,
            self.query_embed.weight,
            heads_of_layers(self.box_heads, self.dec_layers),
        )
        action_heads = heads_of_layers(self.action_heads, self.dec_layers)
        wanted = slice(None) if all_layers else slice(-1, None)
        layers = [
            LayerOutput(
                action_logits=action_head(instances),
                boxes=frame_boxes[:, self.num_steps // 2],
                frame_boxes=frame_boxes,
            )
            for instances, frame_boxes, action_head in zip(
                queries[wanted], boxes[wanted], action_heads[wanted]
            )
        ]
        return self.with_features(layers, queries[wanted])

    def _check_num_frames(self, num_frames: int) -> None:
        stride, rest = divmod(num_frames, self.num_steps)
        if rest or self.num_steps // 2 * stride != num_frames // 2:
            raise UserError(
                f"none of MODEL.SEQFORMER.NUM_STEPS {self.num_steps} steps is centred on the key "
                f"frame of clips of {num_frames} frames; choose an even divisor of "
                "INPUT.CLIP.NUM_FRAMES"
            )
