"""The deformable transformer against the published one, and its own contracts."""

import pytest
import torch
from reference_cases import BLOCKS, ReferenceCase, assert_close
from torch import nn

from tubedet.modeling.heads import BoxHead
from tubedet.modeling.transformer import DeformableTransformer


class _DeformableDETR(nn.Module):
    """The transformer with the heads and queries of a published case, under its names."""

    def __init__(self, meta):
        super().__init__()
        dim = meta["d_model"]
        number = meta["num_decoder_layers"] if meta["with_box_refine"] else 1
        self.transformer = DeformableTransformer(
            dim=dim,
            num_heads=meta["nhead"],
            feedforward_dim=meta["dim_feedforward"],
            enc_layers=meta["num_encoder_layers"],
            dec_layers=meta["num_decoder_layers"],
            dropout=0.0,
            num_levels=meta["num_feature_levels"],
            enc_points=meta["enc_n_points"],
            dec_points=meta["dec_n_points"],
            box_refine=meta["with_box_refine"],
        )
        self.class_embed = nn.ModuleList(nn.Linear(dim, meta["num_classes"]) for _ in range(number))
        self.bbox_embed = nn.ModuleList(BoxHead(dim) for _ in range(number))
        self.query_embed = nn.Embedding(meta["num_queries"], 2 * dim)
        self.repeats = meta["num_decoder_layers"] // number

    def forward(self, maps, positions, masks):
        memory, levels = self.transformer.encode(maps, positions, masks)
        queries = self.query_embed.weight.expand(len(memory), -1, -1)
        query_pos, content = queries.chunk(2, -1)
        hs, boxes = self.transformer.decode(
            content, query_pos, memory, levels, list(self.bbox_embed) * self.repeats
        )
        heads = list(self.class_embed) * self.repeats
        logits = torch.stack([head(x) for head, x in zip(heads, hs)])
        return memory, levels, hs, boxes, logits


@pytest.mark.parametrize("name", ["deformable_transformer", "deformable_transformer_no_refine"])
def test_outputs_and_gradients_equal_the_published(name):
    case = ReferenceCase(BLOCKS / name)
    model = _DeformableDETR(case.meta)
    model.load_state_dict(case.state_dict())
    model.double()
    maps, positions, masks = (
        [case.tensor(f"in/{kind}{level}") for level in range(4)] for kind in ("src", "pos", "mask")
    )
    maps[0].requires_grad_()
    memory, levels, hs, boxes, logits = model(maps, positions, masks)
    assert_close(levels.valid_ratios, case.outputs["out/valid_ratios"], 1e-6)
    references = levels.on_every_level(levels.centres())
    assert_close(references, case.outputs["out/encoder_reference_points"], 1e-6)
    assert_close(memory, case.outputs["out/memory"], 1e-5)
    assert_close(hs, case.outputs["out/hs"], 1e-5)
    assert_close(logits, case.outputs["out/logits"], 1e-5)
    assert_close(boxes, case.outputs["out/boxes"], 1e-5)

    total = (logits * case.tensor("in/grad_logits")).sum()
    (total + (boxes * case.tensor("in/grad_boxes")).sum()).backward()
    parameters = dict(model.named_parameters())
    gradients = [key for key in case.outputs.files if key.startswith("out/grad/")]
    assert len(gradients) >= 7
    for key in gradients:
        name = key.removeprefix("out/grad/")
        if name.split(".")[0] in ("class_embed", "bbox_embed") and name not in parameters:
            continue  # a second name of a shared head
        value = maps[0] if name == "src0" else parameters[name]
        assert_close(value.grad, case.outputs[key], 1e-5)


def _small_transformer(**options):
    torch.manual_seed(0)
    options = {"num_levels": 2, "box_refine": True, **options}
    return DeformableTransformer(
        dim=32,
        num_heads=4,
        feedforward_dim=64,
        enc_layers=1,
        dec_layers=2,
        dropout=0.0,
        enc_points=2,
        dec_points=3,
        **options,
    )


def _pyramid(batch=2):
    maps = [torch.randn(batch, 32, 4, 6), torch.randn(batch, 32, 2, 3)]
    positions = [torch.randn_like(x) for x in maps]
    return maps, positions, [torch.zeros(batch, *x.shape[2:], dtype=torch.bool) for x in maps]


def test_padding_changes_nothing_in_the_valid_part():
    transformer = _small_transformer().eval()
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, std=0.2)
    maps, positions, masks = _pyramid(1)
    with torch.no_grad():
        alone, levels = transformer.encode(maps, positions, masks)
        padded_maps, padded_positions, padded_masks = (
            [nn.functional.pad(x, (0, 3, 0, 2), value=value) for x in part]
            for part, value in ((maps, 7.0), (positions, 3.0), (masks, True))
        )
        padded, padded_levels = transformer.encode(padded_maps, padded_positions, padded_masks)
        torch.testing.assert_close(
            padded[~padded_levels.mask], alone[~levels.mask], rtol=0, atol=1e-5
        )
        content, pos = torch.randn(1, 5, 32), torch.randn(1, 5, 32)
        heads = [BoxHead(32), BoxHead(32)]
        for a, b in zip(
            transformer.decode(content, pos, alone, levels, heads),
            transformer.decode(content, pos, padded, padded_levels, heads),
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_boxes_are_references_of_the_next_layer_without_a_gradient():
    transformer = _small_transformer()
    memory, levels = transformer.encode(*_pyramid())
    heads = [BoxHead(32), BoxHead(32)]
    content, pos = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    _, boxes = transformer.decode(content, pos, memory, levels, heads)
    first = torch.autograd.grad(boxes[0].sum(), heads[0].layers[2].weight, retain_graph=True)
    assert first[0].any()
    second = torch.autograd.grad(boxes[1].sum(), heads[0].layers[2].weight)
    assert not second[0].any()
    # Heads that add nothing leave every box at its reference.
    for head in heads:
        head.start_at_references(-2.0)
    heads[1].start_at_references()
    _, boxes = transformer.decode(content, pos, memory, levels, heads)
    points = transformer.reference_points(pos).sigmoid()
    torch.testing.assert_close(boxes[0, ..., :2], points, rtol=0, atol=1e-5)
    torch.testing.assert_close(boxes[0, ..., 2:], torch.full((2, 5, 2), 0.1192029))
    torch.testing.assert_close(boxes[1], boxes[0], rtol=0, atol=1e-5)


def test_autocast_keeps_boxes_in_float32():
    transformer = _small_transformer()
    with torch.autocast("cpu", torch.bfloat16):
        memory, levels = transformer.encode(*_pyramid())
        content, pos = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
        heads = [BoxHead(32), BoxHead(32)]
        queries, boxes = transformer.decode(content, pos, memory, levels, heads)
    assert boxes.dtype == torch.float32
    assert queries.isfinite().all() and boxes.isfinite().all()
    (queries.float().sum() + boxes.sum()).backward()
