import pytest
import torch

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
