import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tubedet.modeling.backbone import MultiLevelProjection


def _maps(batch=2):
    torch.manual_seed(0)
    sizes = [(8, 4, 5, 7), (16, 2, 3, 4)]
    return [torch.randn(batch, *size) for size in sizes]


def _projection(num_levels):
    torch.manual_seed(0)
    projection = MultiLevelProjection([8, 16], 64, num_levels)
    for parameter in projection.parameters():
        nn.init.normal_(parameter, std=0.3)
    return projection


def test_every_frame_is_projected_alone():
    maps, projection = _maps(), _projection(4)
    with torch.no_grad():
        levels = projection(maps)
        assert [tuple(x.shape) for x in levels] == [
            (2, 4, 64, 5, 7),
            (2, 2, 64, 3, 4),
            (2, 2, 64, 2, 2),
            (2, 2, 64, 1, 1),
        ]
        conv, norm = projection[0]
        frame = F.group_norm(conv(maps[0][1:, :, 3]), 32, norm.weight, norm.bias, eps=1e-5)
        torch.testing.assert_close(levels[0][1, 3], frame[0], rtol=0, atol=1e-5)
        # The first further level comes from the raw map, the next one from the level before.
        torch.testing.assert_close(levels[2][:, 1], projection[2](maps[1][:, :, 1]))
        torch.testing.assert_close(levels[3][:, 1], projection[3](levels[2][:, 1]))


def test_keys_and_initialisation_are_the_published_ones():
    projection = MultiLevelProjection([8, 16], 64, 3)
    keys = {f"{level}.{layer}.{name}" for level in range(3) for layer in (0, 1) for name in "wb"}
    names = {key: (v.shape, v) for key, v in projection.state_dict().items()}
    assert {k.replace("weight", "w").replace("bias", "b") for k in names} == keys
    assert names["2.0.weight"][0] == (64, 16, 3, 3)
    for level in range(3):
        assert not names[f"{level}.0.bias"][1].any()
        weight = names[f"{level}.0.weight"][1]
        fans = weight[0].numel() + weight[:, 0].numel()
        assert weight.abs().max() <= (6 / fans) ** 0.5


def test_whole_clips_are_convolved_and_normed():
    torch.manual_seed(0)
    projection = MultiLevelProjection([8, 16], 64, 3, space_time=True)
    assert projection[2][0].weight.shape == (64, 16, 3, 3, 3)
    maps = [torch.randn(2, 8, 4, 5, 7), torch.randn(2, 16, 2, 3, 4)]
    with torch.no_grad():
        levels = projection(maps)
        sizes = [(2, 64, 4, 5, 7), (2, 64, 2, 3, 4), (2, 64, 2, 2, 2)]
        assert [tuple(x.shape) for x in levels] == sizes
        conv, norm = projection[2]
        clip = F.conv3d(maps[1], conv.weight, conv.bias, stride=(1, 2, 2), padding=1)
        clip = F.group_norm(clip, 32, norm.weight, norm.bias, eps=1e-5)
    torch.testing.assert_close(levels[2], clip)


def test_more_maps_than_levels():
    with pytest.raises(ValueError, match="returns 2 maps, more than the 1 levels of NUM_LEVELS"):
        MultiLevelProjection([8, 16], 64, 1)
