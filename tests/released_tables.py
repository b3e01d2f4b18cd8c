"""Key tables of released files, made from names and shapes alone: tensors that take no memory."""

import published_trunks
import torch

from tubedet.modeling.backbone import SlowFast
from tubedet.modeling.backbone.csn.csn import CSN

# Name -> width, depth, hidden channels of the MLPs, patch size, number of parameters.
VIT_SIZES = {
    "S": (384, 12, 1536, 16, 21_879_936),
    "B": (768, 12, 3072, 16, 86_227_200),
    "L": (1024, 24, 4096, 16, 303_860_736),
    "H": (1280, 32, 5120, 16, 631_607_040),
    "g": (1408, 40, 6144, 14, 1_011_610_752),
}
# Name -> body, depth of encoder and decoder, queries, frames with anchors, classes; keys,
# parameters counted once.
CLASS_QUERY_MODELS = {
    "AVA CSN-152": (152, 6, 15, 1, 80, 1619, 86_006_621),
    "AVA CSN-50": (50, 6, 15, 1, 80, 1007, 69_434_205),
    "AVA ViT-B": ("B", 6, 15, 1, 80, 857, 138_550_045),
    "JHMDB ViT-B": ("B", 3, 5, 40, 21, 539, 117_821_173),
}


def tensors(shapes):
    """{name: shape} -> {name: tensor of one number repeated}."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def _affine(**modules):
    """{name: shape of the weight} -> shapes of weights, and biases of their first side."""
    shapes = {}
    for name, shape in modules.items():
        name = name.replace("__", ".")
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def _under(place, shapes):
    return {f"{place}.{name}": shape for name, shape in shapes.items()}


def vit(size="B", *, tubelet=2, norm=True, gammas=False):
    """Shapes of the body of a video ViT."""
    d, depth, hidden, patch, _ = VIT_SIZES[size]
    shapes = _affine(patch_embed__proj=(d, 3, tubelet, patch, patch))
    block = {
        **_affine(norm1=(d,), norm2=(d,), attn__proj=(d, d)),
        **{"attn.q_bias": (d,), "attn.v_bias": (d,), "attn.qkv.weight": (3 * d, d)},
        **_affine(mlp__fc1=(hidden, d), mlp__fc2=(d, hidden)),
        **({"gamma_1": (d,), "gamma_2": (d,)} if gammas else {}),
    }
    for index in range(depth):
        shapes |= _under(f"blocks.{index}", block)
    return {**shapes, **(_affine(norm=(d,)) if norm else {})}


def pyramid(d=768, c=256):
    """Shapes of ``lateral_convs``."""
    half, quarter = d // 2, d // 4
    shapes = {}
    finer = {"0.0": (d, half), "0.3": (half, quarter), "1.0": (d, half)}
    for place, (inputs, outputs) in finer.items():
        shapes |= {f"{place}.weight": (inputs, outputs, 1, 2, 2), f"{place}.bias": (outputs,)}
    shapes |= _affine(**{"0.1": (half,)})
    for branch, first, inputs in ((0, 4, quarter), (1, 1, half), (2, 0, d), (3, 1, d)):
        shapes[f"{branch}.{first}.weight"] = (c, inputs, 1, 1, 1)
        shapes |= _affine(**{f"{branch}.{first + 1}": (c,)})
        shapes[f"{branch}.{first + 2}.weight"] = (c, c, 3, 3, 3)
    return _under("lateral_convs", shapes)


def class_query(name):
    """Shapes of a released class-query file, with ``module.``, its second and its unused names."""
    body, depth, queries, frames, classes, *_ = CLASS_QUERY_MODELS[name]
    c, f = 256, 2048
    boxes = _affine(layers__0=(c, c), layers__1=(c, c), layers__2=(4, c))
    shapes = {
        "refpoint_embed.weight": (queries * frames, 4),
        **_affine(class_embed_b=(3, c)),
        **_under("bbox_embed", boxes),
        **_under("transformer.decoder.bbox_embed", boxes),
        "transformer.level_embed": (4, c),
        "transformer.decoder.class_queries.weight": (classes, c),
        **_under("transformer.decoder", _affine(norm=(c,), cls_norm=(c,), cls_norm2=(c,))),
    }
    heads = {"query_scale": ((c, c), (c, c)), "ref_point_head": ((c, 2 * c), (c, c))}
    heads["ref_anchor_head"] = ((c, c), (2, c))
    for head, layers in heads.items():
        for index, layer in enumerate(layers):
            shapes |= _under(f"transformer.decoder.{head}.layers.{index}", _affine(x=layer))
    shapes = {key.replace(".x.", "."): shape for key, shape in shapes.items()}
    square = (c, c)
    attention = {"sampling_offsets": (768, c), "attention_weights": square}
    attention |= {"value_proj": square, "output_proj": square}
    encoder = _under("self_attn", _affine(**attention))
    encoder |= _affine(norm1=(c,), norm2=(c,), linear1=(f, c), linear2=(c, f))
    ours = ("qcontent", "qpos", "kcontent", "kpos", "v")
    theirs = ("qcontent", "kcontent", "kpos", "v", "qpos_sine")
    localizing = _affine(
        **{f"sa_{kind}_proj": square for kind in ours},
        **{f"ca_{kind}_proj": square for kind in theirs},
        **dict.fromkeys(("self_attn__out_proj", "cross_attn__out_proj"), square),
        **dict.fromkeys(("norm_", "norm1", "norm2", "norm3"), (c,)),
        lvl_w_embed=(4, c),
        linear1=(f, c),
        linear2=(c, f),
    )
    block = _affine(conv1=(c, c, 3, 3), norm=(c,), conv2=(1024, c), conv3=(c, 1024))
    classifying = _affine(
        **{"cls_linear1": (f, c), "cls_linear1_": (f, c), "cls_linear2": (c, f)},
        **dict.fromkeys(("cls_norm", "cls_norm_", "conv_norm", "norm1"), (c,)),
        **dict.fromkeys(("self_attn__out_proj", "cross_attn__out_proj"), square),
        **dict.fromkeys(("k_proj", "v_proj"), (c, c, 1, 1)),
        **dict.fromkeys(("cls_qpos_sine_proj", "q_proj"), square),
        cls_linear2_=(c, f),
    )
    for copy in range(3):
        classifying |= _under(f"conv_blocks.{copy}", block)
    for index in range(depth):
        shapes |= _under(f"transformer.encoder.layers.{index}", encoder)
        shapes |= _under(f"transformer.decoder.layers.{index}", localizing)
        shapes |= _under(f"transformer.decoder.cls_layers.{index}", classifying)
    shapes |= _under("transformer.decoder.layers.0", _affine(ca_qpos_proj=square))
    return {f"module.{key}": shape for key, shape in {**shapes, **_backbone(body)}.items()}


def stmixer_head(queries=100, stages=6, steps=8, actions=80):
    """Shapes of the decoder of a released STMixer file, with the class weights of its loss."""
    c, hidden, spatial = 256, 2048, 32
    stage = {
        "iof_tau": (8,),
        **_affine(
            samplingmixing__offset_generator__0=(384, c),
            human_cls_fcs__0=(c, c),
            human_cls_fcs__1=(c,),
            human_fc_cls=(2, c),
            reg_fcs__0=(c, c),
            reg_fcs__1=(c,),
            fc_reg=(4, c),
            action_cls_fcs__0=(2 * c, 2 * c),
            action_cls_fcs__1=(2 * c,),
            fc_action=(actions, 2 * c),
        ),
    }
    for branch, points in {"s": spatial, "t": steps}.items():
        mixing = f"samplingmixing__adaptive_mixing_{branch}__"
        attention = f"attention_{branch}.attn"
        stage |= {
            f"{attention}.in_proj_{k}": n for k, n in (("weight", (768, c)), ("bias", (768,)))
        }
        stage |= _affine(
            **{
                f"attention_{branch}__attn__out_proj": (c, c),
                f"attention_norm_{branch}": (c,),
                f"samplingmixing__norm_{branch}": (c,),
                f"{mixing}parameter_generator__0": (4 * (64 * 64 + points * 4 * points), c),
                f"{mixing}out_proj": (c, 4 * 4 * points * 64),
                f"ffn_{branch}__layers__0__0": (hidden, c),
                f"ffn_{branch}__layers__1": (c, hidden),
                f"ffn_norm_{branch}": (c,),
            }
        )
    shapes = {f"init_{kind}_queries.weight": (queries, c) for kind in ("spatial", "temporal")}
    shapes["criterion.empty_weight"] = (2,)
    for index in range(stages):
        shapes |= _under(f"decoder_stages.{index}", stage)
    return _under("stm_head", shapes)


def stmixer(size="B"):
    """Shapes of a released STMixer file on a video ViT."""
    return {**_under("backbone", vit(size)), **pyramid(), **stmixer_head()}


def stmixer_on_cnn(channels=(256, 512, 1024, 2048), steps=4, **trunk):
    """Shapes of a released STMixer file on SlowOnly or SlowFast."""
    with torch.device("meta"):
        body = SlowFast(**trunk).state_dict()
    shapes = {f"backbone.{key}": tuple(value.shape) for key, value in body.items()}
    convs = {f"lateral_convs.{index}": (256, n, 1, 1, 1) for index, n in enumerate(channels)}
    return {**shapes, **_affine(**convs), **stmixer_head(steps=steps)}


def _backbone(body):
    if isinstance(body, str):
        return _under("backbone.0", {**_under("body", vit(body)), **pyramid()})
    with torch.device("meta"):
        csn = published_trunks.tuber(CSN(depth=body, norm="BN"))
    trunk = {
        key.removeprefix("module.").replace("backbone.", "backbone.0."): tuple(value.shape)
        for key, value in csn.items()
    }
    projections = {f"input_proj.{n}.0": (256, 512 << n, 1, 1, 1) for n in range(3)}
    projections["input_proj.3.0"] = (256, 2048, 3, 3, 3)
    return {**trunk, **_affine(**projections, **{f"input_proj.{n}.1": (256,) for n in range(4)})}
