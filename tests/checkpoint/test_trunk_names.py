"""CSN weights of every published kind, made here under the names of their sources."""

import pickle

import published_trunks
import pytest
import scipy.io
import torch
from safetensors.torch import save_file
from torch import nn

from tubedet.checkpoint import CheckpointError, TubedetCheckpointer, to_tubedet_names
from tubedet.modeling.backbone.csn.csn import CSN


def _pickle(arrays, path):
    path.write_bytes(pickle.dumps({"blobs": arrays}, protocol=2))


FORMATS = {
    "TubeR .pth": lambda c, p: torch.save({"model": published_trunks.tuber(c)}, p / "x.pth"),
    "VMZ .mat": lambda c, p: scipy.io.savemat(
        p / "x.mat", published_trunks.caffe2(c), do_compression=True
    ),
    "VMZ .pkl": lambda c, p: _pickle(published_trunks.caffe2(c), p / "x.pkl"),
    "mmaction2": lambda c, p: torch.save(
        {"meta": {"epoch": 58}, "state_dict": published_trunks.mmaction(c)}, p / "x.pth"
    ),
    "mmaction2 without prefix": lambda c, p: torch.save(
        published_trunks.mmaction(c, prefix="", entry=1), p / "x.pth"
    ),
    "torch.hub": lambda c, p: torch.save(published_trunks.torchvision(c), p / "x.pth"),
    "pytorchvideo": lambda c, p: torch.save(
        {"model_state": published_trunks.pytorchvideo(c)}, p / "x.pyth"
    ),
    "safetensors": lambda c, p: save_file(published_trunks.torchvision(c), p / "x.safetensors"),
}


def _load(csn, path, **options):
    holder = nn.ModuleDict({"backbone": csn})
    checkpointer = TubedetCheckpointer(holder, backbone=str(path), **options)
    checkpointer.resume_or_load("", resume=False)
    return checkpointer.report


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_of_file_gives_the_same_features(kind, tmp_path):
    width = 1.0 if kind == "VMZ .mat" else 0.25
    published = published_trunks.random_csn(0, depth=50, width_multiplier=width)
    FORMATS[kind](published, tmp_path)
    (path,) = tmp_path.iterdir()
    csn = published_trunks.random_csn(1, depth=50, width_multiplier=width)
    report = _load(csn, path, min_matched=1.0)
    assert report.share == 1.0 and len(report.matched) == 265
    assert not report.unexpected and not report.mismatched
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(csn(clip)["res5"], published(clip)["res5"])


@pytest.mark.parametrize("name", ["tuber", "mmaction", "torchvision", "pytorchvideo", "caffe2"])
@pytest.mark.parametrize("depth", [101, 152])
def test_the_keys_of_deeper_networks(name, depth):
    """Caffe2's counter runs through all stages."""
    csn = CSN(depth=depth, width_multiplier=1 / 32)
    weights = getattr(published_trunks, name)(csn)
    weights = {key: torch.as_tensor(value) for key, value in weights.items()}
    named = to_tubedet_names(weights)
    expected = {f"backbone.{key}": value for key, value in csn.state_dict().items()}
    if name == "caffe2":
        expected = {k: v for k, v in expected.items() if not k.endswith("num_batches_tracked")}
    assert set(named.weights) == set(expected)
    assert all(torch.equal(named.weights[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("keys", "network"),
    [
        (["stem.0.weight", "layer1.0.conv1.0.0.weight"], r"R\(2\+1\)D"),  # moabitcoin/ig65m
        (["layer1.0.conv2.0.0.weight", "layer1.0.conv3.0.weight"], "ip-CSN"),
        (["backbone.layer1.0.conv2.0.conv.weight", "backbone.layer1.0.conv2.1.conv.weight"], "ip"),
        (["conv1_w", "comp_0_conv_1_w", "comp_0_conv_2_w", "comp_0_conv_4_w"], "ip-CSN"),
    ],
)
def test_networks_with_similar_names_are_refused(keys, network):
    with pytest.raises(CheckpointError, match=network):
        to_tubedet_names({key: torch.zeros(1) for key in keys})


@pytest.mark.parametrize("kind", ["TubeR .pth", "VMZ .mat", "pytorchvideo"])
def test_another_depth_or_width_is_named(kind, tmp_path):
    FORMATS[kind](published_trunks.random_csn(0, depth=101, width_multiplier=0.125), tmp_path)
    (path,) = tmp_path.iterdir()
    with pytest.raises(CheckpointError, match=r"CSN-101 .*MODEL.CSN.DEPTH is 50"):
        _load(CSN(depth=50, width_multiplier=0.125), path, min_matched=0.0)
    with pytest.raises(CheckpointError, match="8 channels in its stem, .* 16 .*WIDTH_MULTIPLIER"):
        _load(CSN(depth=101, width_multiplier=0.25), path, min_matched=0.0)


@pytest.mark.parametrize("deed", ["delete", "rename", "transpose"])
def test_one_wrong_key_is_reported(deed, tmp_path):
    csn = published_trunks.random_csn(0, depth=50, width_multiplier=0.125)
    weights = published_trunks.mmaction(csn)
    key, ours = "backbone.layer3.1.conv1.conv.weight", "backbone.res4.1.conv1.weight"
    value = weights.pop(key)
    if deed == "rename":
        weights[f"{key}_"] = value
    if deed == "transpose":
        weights[key] = value.transpose(0, 1).contiguous()
    torch.save(weights, tmp_path / "x.pth")
    report = _load(CSN(depth=50, width_multiplier=0.125), tmp_path / "x.pth")
    assert report.unexpected == ([f"{key}_"] if deed == "rename" else [])
    assert list(report.missing) == ([] if deed == "transpose" else [ours])
    shapes = {ours: ((128, 32, 1, 1, 1), (32, 128, 1, 1, 1))}
    assert report.mismatched == (shapes if deed == "transpose" else {})
    assert 0.9 < report.share < 1
    with pytest.raises(CheckpointError, match="At least 100%"):
        _load(CSN(depth=50, width_multiplier=0.125), tmp_path / "x.pth", min_matched=1.0)
