"""The decoder of the class-query detector against the published one: two ways of a box."""

import pytest
import torch
from class_query_cases import ClassQueryCase, module_weights

from tubedet.modeling.heads import BoxHead
from tubedet.modeling.transformer.class_query import ClassQueryDecoder, FrameMemory

PRECISIONS = [(torch.float64, 1e-9, 1e-8), (torch.float32, 5e-5, 1e-3)]


def _parts(case, dtype, **options):
    """Decoder, box head and person head with the weights of the case."""
    decoder = ClassQueryDecoder(
        num_layers=2,
        num_classes=7,
        dim=256,
        num_heads=8,
        feedforward_dim=2048,
        dropout=0.0,
        action_dropout=0.5,
        num_levels=4,
        **options,
    )
    box_head, person_head = BoxHead(256), torch.nn.Linear(256, 3)
    weights = module_weights(case, "decoder.")
    for name, module in (("bbox_embed.", box_head), ("class_embed_b.", person_head)):
        own = {key: weights.pop(key) for key in list(weights) if key.startswith(name)}
        module.load_state_dict({key.removeprefix(name): x for key, x in own.items()})
    decoder.load_state_dict(weights)
    return [module.to(dtype).eval() for module in (decoder, box_head, person_head)]


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("dtype, tolerance, grad_tolerance", PRECISIONS)
def test_outputs_and_gradients_equal_the_published(dtype, tolerance, grad_tolerance, repeat):
    case = ClassQueryCase("cq_decoder")
    decoder, box_head, person_head = _parts(case, dtype, repeat_equal_work=repeat)
    inputs = case.inputs(dtype)
    memory_in, anchors = inputs["memory"].requires_grad_(), inputs["anchors"].requires_grad_()
    memory = FrameMemory(
        memory_in.permute(2, 0, 1, 3),
        inputs["pos"].transpose(0, 1),
        inputs["key_padding_mask"],
        (3, 4),
    )
    layers = decoder(memory, anchors.sigmoid().transpose(0, 1), box_head)
    found = {
        "hs": torch.stack([layer.queries for layer in layers]),
        "boxes": torch.stack([layer.boxes for layer in layers]),
        "logits": torch.stack([layer.action_logits for layer in layers]),
    }
    found["person"] = person_head(found["hs"])
    for name, value in found.items():
        case.compare(name, value, tolerance)
    weights = {
        "anchors": anchors,
        "memory": memory_in,
        "bbox_embed": box_head.layers[2].weight,
        "query_scale": decoder.query_scale.layers[1].bias,
        "ref_anchor_head": decoder.ref_anchor_head.layers[1].bias,
        "class_queries": decoder.class_queries.weight,
        "cls_norm2": decoder.cls_norm2.weight,
    }
    for name in ("boxes", "logits"):
        for weight in weights.values():
            weight.grad = None
        (found[name] * case.cotangent(name, found[name])).sum().backward(retain_graph=True)
        for key, weight in weights.items():
            stored = f"grad_{name}_{key}"
            if f"out/{stored}" not in case.outputs.files:
                continue
            if case.outputs[f"out/{stored}"].shape == (1,):  # no path
                assert weight.grad is None, stored
            else:
                case.compare(stored, weight.grad, grad_tolerance)


def _small(**options):
    torch.manual_seed(0)
    sizes = {"dim": 32, "num_heads": 4, "feedforward_dim": 48, "num_levels": 3}
    options = {"num_layers": 3, "num_classes": 5, "action_dropout": 0.5, "dropout": 0.1, **options}
    decoder = ClassQueryDecoder(**sizes, **options)
    memory = FrameMemory(
        torch.randn(2, 3, 12, 32), torch.randn(2, 12, 32), torch.zeros(2, 12).bool(), (3, 4)
    )
    return decoder.eval(), BoxHead(32), memory, torch.rand(2, 6, 4) * 0.5 + 0.2


def test_reported_boxes_come_from_the_normed_and_refinement_from_the_bare_content():
    decoder, box_head, memory, anchors = _small()
    contents = []
    for layer in decoder.layers:
        layer.register_forward_hook(lambda _, __, output: contents.append(output[0]))
    layers = decoder(memory, anchors, box_head)
    refined = anchors
    for content, layer in zip(contents, layers):
        expected = box_head.refine(decoder.norm(content), refined)
        torch.testing.assert_close(layer.boxes, expected)
        refined = box_head.refine(content, refined)


def test_a_box_reaches_back_one_layer():
    decoder, box_head, memory, anchors = _small(num_classes=0)
    contents = []
    for layer in decoder.layers:
        layer.register_forward_hook(lambda _, __, output: contents.append(output[0]))
    boxes = decoder(memory, anchors.requires_grad_(), box_head)[2].boxes
    # With the way through the next layers' contents closed, what remains is the refinement.
    gradient = torch.autograd.grad(boxes.sum(), contents, retain_graph=True)
    assert all(part.abs().max() > 0 for part in gradient)
    assert torch.autograd.grad(boxes.sum(), anchors)[0].abs().max() > 0  # by the first layer's code


def test_the_last_layer_alone_is_the_same():
    decoder, box_head, memory, anchors = _small()
    every = decoder(memory, anchors, box_head)
    (last,) = decoder(memory, anchors, box_head, all_layers=False, with_attention=True)
    assert len(every) == 3 and every[2].class_attention is None
    assert torch.equal(last.boxes, every[2].boxes)
    assert torch.equal(last.action_logits, every[2].action_logits)
    assert last.class_attention.shape == (2, 6, 5, 3, 4)


def test_a_logit_is_the_mean_of_its_normed_class():
    decoder, box_head, memory, anchors = _small()
    torch.nn.init.normal_(decoder.cls_norm2.weight)
    torch.nn.init.normal_(decoder.cls_norm2.bias)
    classes = []
    decoder.cls_layers[-1].register_forward_hook(lambda _, __, out: classes.append(out[0]))
    logits = decoder(memory, anchors, box_head)[-1].action_logits
    torch.testing.assert_close(logits, decoder.cls_norm2(classes[0]).mean(-1))
    assert logits.std() > 0.01


def test_actions_do_not_train_the_actor_features():
    decoder, box_head, memory, anchors = _small()
    torch.nn.init.normal_(decoder.cls_norm2.weight)
    decoder(memory, anchors, box_head)[-1].action_logits.square().sum().backward()
    last = decoder.layers[2]
    assert last.linear1.weight.grad is None and last.cross_attn.out_proj.weight.grad is None
    assert last.lvl_w_embed.weight.grad.abs().max() > 0  # by the memories of the queries
    assert all(parameter.grad is None for parameter in box_head.parameters())


def test_persons_alone_have_no_classes():
    decoder, box_head, memory, anchors = _small(num_classes=0)
    assert not [name for name, _ in decoder.named_parameters() if "cls" in name or "class" in name]
    assert decoder(memory, anchors, box_head)[-1].action_logits is None
