"""Vision transformers for video as a detectron2 backbone.

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training", NeurIPS 2022 (https://arxiv.org/abs/2203.12602). The features of all tokens are those
that MCG-NJU/STMixer and MCG-NJU/VideoMAE-Action-Detection take from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn
from torch.utils.checkpoint import checkpoint

from tubedet.errors import UserError
from tubedet.layers import LayerNorm
from tubedet.modeling.backbone.csn import ClipShapeSpec

from .block import NORM_EPS, ViTBlock
from .position_table import PRETRAINED_SIDE, resize_table, sine_table

OUT_FEATURE = "vit"
# Steps of the table that "interpolate" stretches: 16 frames in tubelets of 2.
PRETRAINED_STEPS = 8
# Resized tables that a model keeps.
MAX_TABLES = 16


class ViTSize(NamedTuple):
    """Numbers of a published model; see :class:`ViT`."""

    width: int
    depth: int
    num_heads: int
    mlp_width: int
    patch_size: int


SIZES = {
    "S": ViTSize(384, 12, 6, 1536, 16),
    "B": ViTSize(768, 12, 12, 3072, 16),
    "L": ViTSize(1024, 24, 16, 4096, 16),
    "H": ViTSize(1280, 32, 16, 5120, 16),
    "g": ViTSize(1408, 40, 16, 6144, 14),
}
CUSTOM = "custom"
POS_EMBEDS = ("sine", "learned")
POS_EMBED_TIMES = ("extend", "interpolate")


class PatchEmbedding(nn.Module):
    """One token for every tubelet of u frames and p x p pixels.

    Args:
        width: channels D of the tokens.
        patch_size: p.
        tubelet: u.
    """

    def __init__(self, width: int, patch_size: int, tubelet: int):
        super().__init__()
        kernel = (tubelet, patch_size, patch_size)
        self.proj = nn.Conv3d(3, width, kernel, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (B, 3, T, H, W) -> (B, D, t, h, w); what is left at the ends is not seen."""
        return self.proj(x)


class ViT(Backbone):
    """A video ViT that returns all its tokens as one 5-D map, "vit".

    Padding is made of ordinary tokens, as published, so features depend on the batch a clip is in.
    With ``mask_padding`` they do not.

    Args:
        width: channels D.
        depth: blocks L.
        num_heads: attention heads; divides D.
        mlp_width: hidden channels of the MLPs.
        patch_size: side p of the patches in pixels, a divisor of 224; it is the spatial stride.
        tubelet: frames u of a patch; it is the temporal stride.
        num_frames: frames T of the clips that the position table is made for; others are possible.
        init_values: see :class:`ViTBlock`.
        drop_path: that of the last block, see :class:`ViTBlock`; the first has 0, those between
            have equal steps.
        checkpointing: keep the inputs of the blocks only and compute the rest again in the
            backward pass; the result is the same.
        pos_embed: "sine": a fixed table. "learned": a parameter ``pos_embed`` that starts as this
            table, for files that have one.
        pos_embed_time: clips of other lengths. "extend": the table goes on. "interpolate": a sine
            table of 8 steps is stretched. A learned table is always stretched.
        mask_padding: no token attends to tokens that hold nothing but padding, positions are those
            of the clip without it, and what is returned there is 0.
        freeze_at: 0 trains all; 1 freezes the patch embedding, n also the first n - 1 blocks.

    Raises:
        UserError: for numbers that do not fit together, or an unknown choice.
    """

    position_table: torch.Tensor

    @configurable
    def __init__(
        self,
        *,
        width: int,
        depth: int,
        num_heads: int,
        mlp_width: int,
        patch_size: int = 16,
        tubelet: int = 2,
        num_frames: int = 16,
        init_values: float = 0.0,
        drop_path: float = 0.0,
        checkpointing: bool = False,
        pos_embed: str = "sine",
        pos_embed_time: str = "extend",
        mask_padding: bool = False,
        freeze_at: int = 0,
    ):
        super().__init__()
        _check_numbers(width, depth, num_heads, mlp_width, patch_size, tubelet, num_frames)
        if pos_embed not in POS_EMBEDS:
            raise UserError(f"MODEL.VIT.POS_EMBED is {pos_embed!r}; choose one of {POS_EMBEDS}")
        if pos_embed_time not in POS_EMBED_TIMES:
            raise UserError(
                f"MODEL.VIT.POS_EMBED_TIME is {pos_embed_time!r}; choose one of {POS_EMBED_TIMES}"
            )
        if not 0 <= drop_path < 1:
            raise UserError(f"MODEL.VIT.DROP_PATH is {drop_path}; give a number in [0, 1)")
        if init_values < 0:
            raise UserError(f"MODEL.VIT.INIT_VALUES is {init_values}; give 0 or a positive number")
        self.width = width
        self.patch_size = patch_size
        self.tubelet = tubelet
        self.checkpointing = checkpointing
        self.pos_embed_time = pos_embed_time
        self.mask_padding = mask_padding

        self.patch_embed = PatchEmbedding(width, patch_size, tubelet)
        self.blocks: Iterable[Any] = nn.ModuleList(
            ViTBlock(width, num_heads, mlp_width, init_values, drop_path * i / max(depth - 1, 1))
            for i in range(depth)
        )
        self.norm = LayerNorm(width, eps=NORM_EPS)
        self.grid = PRETRAINED_SIDE // patch_size
        fixed = pos_embed == "sine" and pos_embed_time == "interpolate"
        self.table_steps = PRETRAINED_STEPS if fixed else num_frames // tubelet
        table = sine_table(self.table_steps, self.grid, width)
        self.pos_embed: nn.Parameter | None = None
        if pos_embed == "learned":
            self.pos_embed = nn.Parameter(table.flatten(0, 2)[None])
        else:
            self.register_buffer("position_table", table, persistent=False)
        self._tables: OrderedDict[tuple, torch.Tensor] = OrderedDict()
        self._init_weights()
        self._freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg, input_shape=None):
        """Return the arguments of the constructor according to a config."""
        vit = cfg.MODEL.VIT
        return {
            **size_arguments(
                vit.SIZE, vit.WIDTH, vit.DEPTH, vit.NUM_HEADS, vit.MLP_WIDTH, vit.PATCH_SIZE
            ),
            "tubelet": vit.TUBELET,
            "num_frames": cfg.INPUT.CLIP.NUM_FRAMES,
            "init_values": vit.INIT_VALUES,
            "drop_path": vit.DROP_PATH,
            "checkpointing": vit.CHECKPOINTING,
            "pos_embed": vit.POS_EMBED,
            "pos_embed_time": vit.POS_EMBED_TIME,
            "mask_padding": vit.MASK_PADDING,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def forward(
        self, x: torch.Tensor, sizes: Sequence[tuple[int, int]] | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute the features of normalised clips.

        Args:
            x: float (B, 3, T, H, W), RGB.
            sizes: (height, width) of each clip without padding; one entry stands for all, None:
                there is no padding. Without effect unless ``mask_padding`` is on.

        Returns:
            {"vit": (B, D, T // tubelet, H // patch_size, W // patch_size)}.
        """
        x = self.patch_embed(x)
        grid = x.shape[2:]
        attended = self.content(x, sizes)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self._positions(x, sizes).to(tokens.dtype)
        keys = None if attended is None else attended.expand(x.shape[0], *grid).flatten(1)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                draws = block.drop_path > 0
                tokens = checkpoint(
                    block, tokens, keys, use_reentrant=False, preserve_rng_state=draws
                )
            else:
                tokens = block(tokens, keys)
        tokens = self.norm(tokens)
        if keys is not None:
            tokens = tokens * keys[..., None].to(tokens.dtype)
        return {OUT_FEATURE: tokens.transpose(1, 2).unflatten(2, tuple(grid))}

    def output_shape(self) -> dict[str, ClipShapeSpec]:
        """Channels and strides of the map."""
        return {OUT_FEATURE: ClipShapeSpec(self.width, self.patch_size, self.tubelet)}

    @property
    def size_divisibility(self) -> int:
        """What the sides of clips are padded to a multiple of."""
        return self.patch_size

    def content(
        self, x: torch.Tensor, sizes: Sequence[tuple[int, int]] | None
    ) -> torch.Tensor | None:
        """Tell tokens with pixels of the clip from tokens of padding alone.

        Args:
            x: map (B, D, t, h, w).
            sizes: see :meth:`forward`.

        Returns:
            bool (B or 1, 1, h, w), False on padding; None: there is none, or it is not masked.
        """
        if not self.mask_padding or sizes is None:
            return None
        grids = self._grids(x, sizes)
        free = torch.compiler.is_compiling()  # whose sizes are not compared
        if not free and all(grid == tuple(x.shape[3:]) for grid in grids):
            return None
        rows, columns = (torch.arange(n, device=x.device) for n in x.shape[3:])
        masks = [(rows < h)[:, None] & (columns < w) for h, w in grids]
        return torch.stack(masks)[:, None]

    def _grids(self, x: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Rows and columns of tokens that each clip reaches into, at most those of the map."""
        p, (rows, columns) = self.patch_size, x.shape[3:]
        smaller: Callable = torch.sym_min  # of free sizes too
        return [(smaller(-(-h // p), rows), smaller(-(-w // p), columns)) for h, w in sizes]

    def _positions(self, x: torch.Tensor, sizes: Sequence[tuple[int, int]] | None) -> torch.Tensor:
        """Position codes (B or 1, N, D) of a map (B, D, t, h, w)."""
        t, h, w = x.shape[2:]
        if not self.mask_padding or sizes is None:
            return self._table(t, h, w).flatten(0, 2)[None]
        tables = []
        for rows, columns in self._grids(x, sizes):
            table = self._table(t, rows, columns)
            tables.append(F.pad(table, (0, 0, 0, w - columns, 0, h - rows)).flatten(0, 2))
        return torch.stack(tables)

    def _table(self, t: int, h: int, w: int) -> torch.Tensor:
        """Return the table (t, h, w, D); fixed ones are kept, but for the last MAX_TABLES."""
        if self.pos_embed is not None:
            shape = (self.table_steps, self.grid, self.grid)
            return resize_table(self.pos_embed[0].unflatten(0, shape), t, h, w)
        stored = self.position_table
        # A graph of launches or operators computes it: it must not rely on what is kept here.
        is_traced = torch.compiler.is_compiling() or (
            stored.is_cuda and torch.cuda.is_current_stream_capturing()
        )
        if is_traced:
            return self._resized(t, h, w)
        key = (t, h, w, stored.device, stored.dtype)
        if key not in self._tables:
            # Kept tables are used in training too.
            with torch.inference_mode(False), torch.no_grad():
                self._tables[key] = self._resized(t, h, w)
            if len(self._tables) > MAX_TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return self._tables[key]

    def _resized(self, t: int, h: int, w: int) -> torch.Tensor:
        # In float32 in models of every precision, as published.
        table = self.position_table.float()
        if t != len(table) and self.pos_embed_time == "extend":
            table = sine_table(t, self.grid, self.width).to(table)
        return resize_table(table, t, h, w)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the kept tables out of copies and files."""
        return {**self.__dict__, "_tables": OrderedDict()}

    def _init_weights(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _freeze(self, freeze_at: int):
        parts = [self.patch_embed, *self.blocks]
        if not 0 <= freeze_at <= len(parts):
            raise UserError(f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; choose 0 .. {len(parts)}")
        for part in parts[:freeze_at]:
            part.requires_grad_(False)


def size_arguments(
    size: str, width: int, depth: int, num_heads: int, mlp_width: int, patch_size: int
) -> dict[str, int]:
    """Return the numbers of a published size, or those given for "custom".

    Args:
        size: a key of :data:`SIZES`, or "custom".
        width: see :class:`ViT`; likewise the others. They count for "custom" only.
        depth: likewise.
        num_heads: likewise.
        mlp_width: likewise.
        patch_size: counts for every size; 0: that of the published size, or 16.

    Raises:
        UserError: for an unknown size.
    """
    if size == CUSTOM:
        numbers = ViTSize(width, depth, num_heads, mlp_width, patch_size or 16)
    elif size in SIZES:
        numbers = SIZES[size]
        numbers = numbers._replace(patch_size=patch_size or numbers.patch_size)
    else:
        raise UserError(f"MODEL.VIT.SIZE is {size!r}; choose one of {[*SIZES, CUSTOM]}")
    return numbers._asdict()


def _check_numbers(width, depth, num_heads, mlp_width, patch_size, tubelet, num_frames) -> None:
    numbers = {
        "WIDTH": width,
        "DEPTH": depth,
        "NUM_HEADS": num_heads,
        "MLP_WIDTH": mlp_width,
        "PATCH_SIZE": patch_size,
        "TUBELET": tubelet,
    }
    for key, value in numbers.items():
        if value < 1:
            raise UserError(f"MODEL.VIT.{key} is {value}; give at least 1")
    if width % num_heads:
        raise UserError(
            f"MODEL.VIT.NUM_HEADS is {num_heads}; give a divisor of MODEL.VIT.WIDTH, {width}"
        )
    if PRETRAINED_SIDE % patch_size:
        raise UserError(
            f"MODEL.VIT.PATCH_SIZE is {patch_size}; give a divisor of {PRETRAINED_SIDE}, the side "
            "for which the position table is made"
        )
    if num_frames % tubelet:
        raise UserError(
            f"INPUT.CLIP.NUM_FRAMES is {num_frames}; give a multiple of MODEL.VIT.TUBELET, "
            f"{tubelet}"
        )


@BACKBONE_REGISTRY.register()
def build_vit_backbone(cfg, input_shape=None) -> ViT:
    """Build :class:`ViT` from ``MODEL.VIT`` and ``MODEL.BACKBONE.FREEZE_AT``."""
    return ViT(cfg, input_shape)
