"""From a list of clips of any sizes to one padded, normalised batch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class ClipBatch:
    """A batch of normalised clips, padded at the bottom and right with zeros.

    Attributes:
        tensor: float (B, 3, T, H, W).
        mask: bool (B, H, W), True on padding.
        sizes: unpadded (height, width) of each clip, in pixels; one entry may stand for all.
    """

    tensor: torch.Tensor
    mask: torch.Tensor
    sizes: list[tuple[int, int]]

    @classmethod
    def from_clips(
        cls,
        clips: list[torch.Tensor],
        pixel_mean: torch.Tensor,
        pixel_std: torch.Tensor,
        size_divisibility: int = 0,
    ) -> "ClipBatch":
        """Normalise and pad.

        Padding follows normalisation, so padded pixels have the mean colour (as in TubeR). The
        arithmetic is (x / 255 - mean) / std in float32 for models of every precision, because
        that is what published weights have seen.

        Args:
            clips: uint8 or float (3, T, H, W) each, RGB in 0..255, the same T.
            pixel_mean: (3, 1, 1, 1) of RGB / 255; its dtype and device become the batch's.
            pixel_std: likewise.
            size_divisibility: pad both sides to a multiple of this; 0: to the largest clip only.

        Raises:
            ValueError: if a clip has another layout, or the numbers of frames differ.
        """
        for clip in clips:
            if clip.dim() != 4 or clip.shape[0] != 3 or clip.shape[1] != clips[0].shape[1]:
                raise ValueError(
                    "a batch needs clips of shape (3, T, H, W) with one T, got "
                    f"{[tuple(c.shape) for c in clips]}"
                )
        sizes = [(clip.shape[2], clip.shape[3]) for clip in clips]
        unit = max(size_divisibility, 1)
        height, width = (-(-max(side) // unit) * unit for side in zip(*sizes))
        batch = pixel_mean.new_zeros(len(clips), *clips[0].shape[:2], height, width)
        mask = pixel_mean.new_ones((len(clips), height, width), dtype=torch.bool)
        for i, (clip, (h, w)) in enumerate(zip(clips, sizes)):
            clip = clip.to(pixel_mean.device, torch.float32, copy=True).div_(255)
            batch[i, ..., :h, :w] = clip.sub_(pixel_mean.float()).div_(pixel_std.float())
            mask[i, :h, :w] = False
        return cls(batch, mask, sizes)

    def mask_at(self, height: int, width: int) -> torch.Tensor:
        """Return the mask on a feature map: bool (B, height, width), nearest neighbour."""
        resized = F.interpolate(self.mask[:, None].float(), size=(height, width), mode="nearest")
        return resized[:, 0].bool()
