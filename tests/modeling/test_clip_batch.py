import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tubedet.modeling import ClipBatch

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1, 1)


def test_normalises_before_padding():
    clips = [torch.full((3, 2, 4, 6), 255, dtype=torch.uint8), torch.zeros(3, 2, 5, 3)]
    batch = ClipBatch.from_clips(clips, MEAN, STD)
    assert batch.tensor.shape == (2, 3, 2, 5, 6)
    assert batch.sizes == [(4, 6), (5, 3)]
    torch.testing.assert_close(batch.tensor[0, 0, 1, 3, 5], torch.tensor((1 - 0.485) / 0.229))
    torch.testing.assert_close(batch.tensor[1, 2, 0, 4, 2], torch.tensor(-0.406 / 0.225))
    assert (batch.tensor[0, :, :, 4:] == 0).all() and (batch.tensor[1, :, :, :, 3:] == 0).all()
    assert batch.mask[0].sum() == 6 and batch.mask[1].sum() == 15
    assert not batch.mask[1, :, :3].any()


def test_mask_on_a_feature_map_takes_the_nearest_cell():
    clips = [torch.zeros(3, 1, 10, 10), torch.zeros(3, 1, 5, 7)]
    mask = ClipBatch.from_clips(clips, MEAN, STD).mask_at(4, 4)
    # Rows 0, 2, 5, 7 and columns 0, 2, 5, 7 of the full mask.
    assert not mask[0].any()
    assert mask[1].tolist() == [[False] * 3 + [True]] * 2 + [[True] * 4] * 2


def test_precision_of_the_model_is_kept():
    clips = [torch.zeros(3, 1, 4, 4, dtype=torch.uint8)]
    assert ClipBatch.from_clips(clips, MEAN.double(), STD.double()).tensor.dtype == torch.float64


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 8, 4, 4\)"):
        ClipBatch.from_clips([torch.zeros(3, 8, 4, 4), torch.zeros(3, 16, 4, 4)], MEAN, STD)


def _formula(clip, mean, std):
    return (clip.to(torch.float32) / 255 - mean.float()) / std.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("divisibility", [0, 8])
@pytest.mark.parametrize("sizes", [[(5, 7)], [(8, 16)] * 3, [(5, 7), (6, 3), (5, 7)]])
def test_pixels_are_those_of_the_formula_to_the_last_bit(sizes, divisibility, dtype):
    torch.manual_seed(0)
    mean, std = MEAN.to(dtype), STD.to(dtype)
    clips = [torch.randint(0, 256, (3, 2, h, w), dtype=torch.uint8) for h, w in sizes]
    # As a frame is decoded: colours last; and in another dtype.
    clips[0] = clips[0].permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    if len(clips) > 1:
        clips[1] = clips[1].double()
    batch = ClipBatch.from_clips(clips, mean, std, divisibility)
    assert batch.tensor.dtype == dtype
    padded = torch.zeros_like(batch.tensor)
    hidden = torch.ones_like(batch.mask)
    for i, (clip, (h, w)) in enumerate(zip(clips, sizes)):
        padded[i, ..., :h, :w] = _formula(clip, mean, std)
        hidden[i, :h, :w] = False
    assert torch.equal(batch.tensor, padded) and torch.equal(batch.mask, hidden)
    assert all(clip.max() > 1 for clip in clips)  # they were not changed


class _Operators(TorchDispatchMode):
    """Names of the operators that compute something."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and "empty" not in func.__name__:
            self.names.append(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([(4, 8)], ["zeros", "div", "sub_", "div_"]),
        ([(4, 8)] * 8, ["zeros", "stack", "div", "sub_", "div_"]),
        ([(4, 8), (5, 3)], ["new_zeros", "ones", *["div", "sub_", "div_", "fill_"] * 2]),
    ],
)
def test_few_operators_and_no_waiting_on_another_device(sizes, expected):
    """On a GPU each is a launch; a transfer from the CPU to it would be a copy."""
    clips = [torch.zeros(3, 2, h, w, dtype=torch.uint8, device="meta") for h, w in sizes]
    mean, std = MEAN.to("meta"), STD.to("meta")
    with _Operators() as operators:
        batch = ClipBatch.from_clips(clips, mean, std)
    assert operators.names == expected
    assert batch.tensor.device.type == batch.mask.device.type == "meta"


def test_clips_on_the_cpu_are_copied_as_they_are_without_waiting(monkeypatch):
    copies = []
    plain = torch.Tensor.to

    def to(self, *args, **kwargs):
        copies.append((self.dtype, self.shape, kwargs))
        return plain(self, *args, **kwargs)

    clips = [torch.zeros(3, 2, 4, 8, dtype=torch.uint8)] * 2
    mean, std = MEAN.to("meta"), STD.to("meta")
    monkeypatch.setattr(torch.Tensor, "to", to)
    ClipBatch.from_clips(clips, mean, std)
    assert copies[:2] == [(torch.uint8, (3, 2, 4, 8), {"non_blocking": True})] * 2
