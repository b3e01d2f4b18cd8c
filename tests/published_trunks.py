"""Writes a CSN's weights under the names of other implementations, block by block."""

import torch

from tubedet.modeling.backbone.csn.csn import BLOCKS_PER_STAGE, CSN

STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def random_csn(seed, **arguments):
    """A CSN whose batch norms are not trivial, in evaluation mode."""
    torch.manual_seed(seed)
    csn = CSN(**arguments)
    for module in csn.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return csn.eval()


def _layers(csn):
    """(stage 0..3, block, block counted through, {our layer: whether it is a norm})."""
    counter = 0
    for stage, blocks in enumerate(BLOCKS_PER_STAGE[csn.depth]):
        for block in range(blocks):
            layers = [f"{kind}{i}" for i in (1, 2, 3) for kind in ("conv", "norm")]
            if block == 0:
                layers += ["shortcut.0", "shortcut.1"]
            yield stage, block, counter, layers
            counter += 1


def _publish(csn, stem_conv, stem_norm, name_of_layer):
    ours = csn.state_dict()
    published = {f"{stem_conv}.weight": ours.pop("stem.conv.weight")}
    for name in STATISTICS:
        published[f"{stem_norm}.{name}"] = ours.pop(f"stem.norm.{name}")
    for stage, block, _, layers in _layers(csn):
        for layer in layers:
            theirs = name_of_layer(stage, block, layer)
            is_norm = "norm" in layer or layer == "shortcut.1"
            for name in STATISTICS if is_norm else ("weight",):
                published[f"{theirs}.{name}"] = ours.pop(f"res{stage + 2}.{block}.{layer}.{name}")
    assert not ours
    return published


def tuber(csn):
    names = {"conv1": "conv1", "norm1": "bn1", "conv2": "conv3", "norm2": "bn3"}
    names |= {"conv3": "conv4", "norm3": "bn4"}
    names |= {"shortcut.0": "down_sample.0", "shortcut.1": "down_sample.1"}
    return _publish(
        csn,
        "module.backbone.body.conv1",
        "module.backbone.body.bn1",
        lambda s, b, layer: f"module.backbone.body.layer{s + 1}.{b}.{names[layer]}",
    )


def mmaction(csn, prefix="backbone.", entry=0):
    """``entry``: place of the depthwise convolution in its sequence."""
    names = {"conv1": "conv1.conv", "norm1": "conv1.bn", "conv3": "conv3.conv"}
    names |= {"conv2": f"conv2.{entry}.conv", "norm2": f"conv2.{entry}.bn", "norm3": "conv3.bn"}
    names |= {"shortcut.0": "downsample.conv", "shortcut.1": "downsample.bn"}
    published = _publish(
        csn,
        f"{prefix}conv1.conv",
        f"{prefix}conv1.bn",
        lambda s, b, layer: f"{prefix}layer{s + 1}.{b}.{names[layer]}",
    )
    return {**published, "cls_head.fc_cls.weight": torch.zeros(400, 2048)}


def torchvision(csn):
    names = {f"conv{i}": f"conv{i}.0" for i in (1, 2, 3)}
    names |= {f"norm{i}": f"conv{i}.1" for i in (1, 2, 3)}
    names |= {"shortcut.0": "downsample.0", "shortcut.1": "downsample.1"}
    published = _publish(
        csn, "stem.0", "stem.1", lambda s, b, layer: f"layer{s + 1}.{b}.{names[layer]}"
    )
    return {**published, "fc.weight": torch.zeros(400, 2048)}


def pytorchvideo(csn):
    names = {f"conv{i}": f"branch2.conv_{c}" for i, c in zip((1, 2, 3), "abc")}
    names |= {f"norm{i}": f"branch2.norm_{c}" for i, c in zip((1, 2, 3), "abc")}
    names |= {"shortcut.0": "branch1_conv", "shortcut.1": "branch1_norm"}
    published = _publish(
        csn,
        "blocks.0.conv",
        "blocks.0.norm",
        lambda s, b, layer: f"blocks.{s + 1}.res_blocks.{b}.{names[layer]}",
    )
    return {**published, "blocks.5.proj.weight": torch.zeros(400, 2048)}


def caffe2(csn):
    """Arrays as Caffe2 has them, besides what training left there."""
    ours = csn.state_dict()
    suffixes = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
    published = {"conv1_w": ours["stem.conv.weight"]}
    for suffix, name in suffixes.items():
        published[f"conv1_spatbn_relu_{suffix}"] = ours[f"stem.norm.{name}"]
    for stage, block, counter, layers in _layers(csn):
        prefix = f"res{stage + 2}.{block}."
        for layer in layers:
            position = {"1": 1, "2": 3, "3": 4}.get(layer[-1])
            if layer.startswith("conv"):
                theirs = f"comp_{counter}_conv_{position}"
            elif layer.startswith("norm"):
                theirs = f"comp_{counter}_spatbn_{position}"
            else:
                theirs = f"shortcut_projection_{counter}"
                theirs += "_spatbn" if layer == "shortcut.1" else ""
            if layer.startswith("conv") or layer == "shortcut.0":
                published[f"{theirs}_w"] = ours[f"{prefix}{layer}.weight"]
                continue
            for suffix, name in suffixes.items():
                published[f"{theirs}_{suffix}"] = ours[f"{prefix}{layer}.{name}"]
    published = {key: value.numpy() for key, value in published.items()}
    published["last_out_L400_w"] = torch.zeros(400, 2048).numpy()
    published["conv1_w_momentum"] = published["conv1_w"]
    published["model_iter"] = torch.ones(1).numpy()
    return published
