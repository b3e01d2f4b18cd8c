"""The SeqFormer transformer against stored outputs and gradients of the published one."""

import pytest
import torch
from reference_cases import BLOCKS, ReferenceCase, assert_close
from torch import nn

from tubedet.modeling.heads import BoxHead
from tubedet.modeling.transformer import SeqFormerTransformer

# Published parameters that no output depends on; they do not exist here.
WITHOUT_EFFECT = ("self_attn.output_proj_box.weight", "self_attn.output_proj_box.bias")
WITHOUT_EFFECT += ("time_attention_weights.bias",)


@pytest.fixture(scope="module")
def case_and_results():
    """The stored case, our model of its weights, and what that computes."""
    case = ReferenceCase(BLOCKS / "seqformer_transformer")
    meta = case.meta
    model = nn.Module()
    model.transformer = SeqFormerTransformer(
        dim=meta["d_model"],
        num_heads=meta["nhead"],
        feedforward_dim=meta["dim_feedforward"],
        enc_layers=meta["num_encoder_layers"],
        dec_layers=meta["num_decoder_layers"],
        dropout=0.1,
        num_levels=meta["num_feature_levels"],
        enc_points=meta["enc_n_points"],
        dec_points=meta["dec_n_points"],
        box_refine=meta["with_box_refine"],
    )
    layers = range(meta["num_decoder_layers"])
    model.query_embed = nn.Embedding(meta["num_queries"], 2 * meta["d_model"])
    model.bbox_embed = nn.ModuleList(BoxHead(meta["d_model"]) for _ in layers)
    model.class_embed = nn.ModuleList(
        nn.Linear(meta["d_model"], meta["num_classes"]) for _ in layers
    )
    weights = {k: v for k, v in case.state_dict().items() if not k.endswith(WITHOUT_EFFECT)}
    model.load_state_dict(weights)
    model.eval().double()

    def stored(name):
        return case.tensor(f"in/{name}")

    results = {"memory": [], "hs_box": []}
    model.transformer.encoder.register_forward_hook(
        lambda module, inputs, output: results["memory"].append(output)
    )
    for layer in model.transformer.decoder.layers:
        layer.register_forward_hook(
            lambda module, inputs, output: results["hs_box"].append(output[1])
        )
    results["src"] = [stored(f"src{level}").requires_grad_() for level in range(4)]
    results["hs"], results["boxes"] = model.transformer(
        results["src"],
        [stored(f"pos{level}") for level in range(4)],
        [stored(f"mask{level}") for level in range(4)],
        model.query_embed.weight,
        model.bbox_embed,
    )
    results["logits"] = torch.stack([head(x) for head, x in zip(model.class_embed, results["hs"])])
    loss = (results["logits"] * stored("grad_logits")).sum()
    loss = loss + (results["boxes"] * stored("grad_boxes")).sum()
    loss.backward()
    return case, model, results


def test_outputs_equal_the_published(case_and_results):
    case, _, results = case_and_results
    (memory,) = results["memory"]
    expected = case.outputs["out/memory"]
    assert_close(memory.view(expected.shape), expected, 1e-4)
    assert_close(results["hs"], case.outputs["out/hs"], 1e-5)
    assert_close(torch.stack(results["hs_box"]), case.outputs["out/hs_box"], 1e-5)
    assert_close(results["logits"], case.outputs["out/logits"], 1e-5)
    assert_close(results["boxes"], case.outputs["out/boxes"], 1e-5)
    assert_close(results["boxes"], case.outputs["out/inter_references"], 1e-5)


def test_gradients_equal_the_published(case_and_results):
    case, model, results = case_and_results
    parameters = dict(model.named_parameters())
    compared = 0
    for name in case.outputs:
        if not name.startswith("out/grad/"):
            continue
        key = name.removeprefix("out/grad/")
        if key == "src0_sum_over_channels":
            gradient = results["src"][0].grad.sum(2)
        else:
            gradient = parameters[key].grad
        assert_close(gradient, case.outputs[name], 1e-5)
        compared += 1
    assert compared == 10


def test_without_refinement_all_layers_keep_the_first_points():
    torch.manual_seed(0)
    transformer = SeqFormerTransformer(
        dim=32,
        num_heads=4,
        feedforward_dim=64,
        enc_layers=1,
        dec_layers=2,
        dropout=0.0,
        num_levels=1,
        enc_points=2,
        dec_points=2,
        box_refine=False,
    )
    head = BoxHead(32)
    nn.init.zeros_(head.layers[-1].weight)
    nn.init.constant_(head.layers[-1].bias, 0.5)
    queries = torch.randn(5, 64)
    _, boxes = transformer(
        [torch.randn(2, 3, 32, 4, 5)],
        [torch.randn(2, 32, 4, 5)],
        [torch.zeros(2, 4, 5, dtype=torch.bool)],
        queries,
        [head, head],
    )
    assert boxes.shape == (2, 2, 3, 5, 4)
    points = transformer.reference_points(queries[:, :32])
    expected = torch.cat((points, torch.zeros(5, 2)), dim=1).add(0.5).sigmoid()
    torch.testing.assert_close(boxes, expected.expand_as(boxes))
