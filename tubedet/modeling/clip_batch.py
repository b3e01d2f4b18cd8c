"""From a list of clips of any sizes to one padded, normalised batch."""

from collections.abc import Iterator
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
        is_padded = any(size != (height, width) for size in sizes)
        shape = (len(clips), *clips[0].shape[:2], height, width)
        # Not one transfer in what follows makes the CPU wait for a GPU.
        clips = [clip.to(pixel_mean.device, non_blocking=True) for clip in clips]
        batch = (pixel_mean.new_zeros if is_padded else pixel_mean.new_empty)(shape)
        mask = (torch.ones if is_padded else torch.zeros)(
            (len(clips), height, width), dtype=torch.bool, device=pixel_mean.device
        )
        for rows, pixels in _of_equal_form(clips):
            h, w = pixels.shape[-2:]
            _normalise(pixels, pixel_mean, pixel_std, out=batch[rows, ..., :h, :w])
            if is_padded:
                mask[rows, :h, :w].fill_(False)
        return cls(batch, mask, sizes)

    def mask_at(self, height: int, width: int) -> torch.Tensor:
        """Return the mask on a feature map: bool (B, height, width), nearest neighbour."""
        resized = F.interpolate(self.mask[:, None].float(), size=(height, width), mode="nearest")
        return resized[:, 0].bool()


def _of_equal_form(clips: list[torch.Tensor]) -> Iterator[tuple[slice, torch.Tensor]]:
    """Rows of the batch, and the clips (n, 3, T, H, W) that belong there.

    On a GPU clips of one form go together, in one operator instead of one for each.
    """
    forms = {(clip.shape, clip.dtype) for clip in clips}
    if len(clips) > 1 and len(forms) == 1 and clips[0].device.type != "cpu":
        yield slice(len(clips)), torch.stack(clips)
        return
    for i, clip in enumerate(clips):
        yield slice(i, i + 1), clip[None]


def _normalise(
    pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, *, out: torch.Tensor
) -> None:
    """Write (x / 255 - mean) / std, computed in float32, to a part of the batch."""
    is_float32 = out.dtype == torch.float32
    if out.device.type == "cpu":
        # Conversion and division as one would be two copies here, and rows with gaps are slow.
        in_place = is_float32 and out.is_contiguous()
        result = out if in_place else torch.empty_like(pixels, dtype=torch.float32)
        result.copy_(pixels).div_(255)
    else:
        if pixels.is_floating_point():
            pixels = pixels.float()
        result = torch.div(pixels, 255, out=out if is_float32 else None)
    result.sub_(mean.float()).div_(std.float())
    if result is not out:
        out.copy_(result)
