"""Classifying layers against the published ones, and the attention of the classes."""

import pytest
import torch
from class_query_cases import ClassQueryCase, module_weights

from tubedet.errors import UserError
from tubedet.modeling.transformer.class_query import ClassifyingLayer

PRECISIONS = [(torch.float64, 1e-9, 1e-8), (torch.float32, 5e-5, 1e-3)]
SMALL = {"dim": 16, "num_heads": 2, "feedforward_dim": 24, "dropout": 0.0}


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("kind", ["first", "later"])
@pytest.mark.parametrize("dtype, tolerance, grad_tolerance", PRECISIONS)
def test_outputs_and_gradients_equal_the_published(kind, dtype, tolerance, grad_tolerance, repeat):
    case = ClassQueryCase(f"cq_classifying_layer_{kind}")
    layer = ClassifyingLayer(
        dim=256, num_heads=8, feedforward_dim=2048, dropout=0.0, repeat_equal_work=repeat
    )
    layer.load_state_dict(module_weights(case, "cls_layers.0."))
    layer.to(dtype).eval()
    inputs = case.inputs(dtype)
    for value in inputs.values():
        value.requires_grad_()
    classes = inputs["class_queries"]
    if kind == "later":  # [class, query * batch, C], the query slow
        classes = classes.unflatten(1, (5, 2)).permute(2, 1, 0, 3)
    output, attention = layer(
        classes,
        inputs["actor"].transpose(0, 1),
        inputs["query_memory"].permute(2, 0, 1, 3),
        inputs["pos"].transpose(0, 1),
        torch.zeros(2, 12, dtype=torch.bool),
        inputs["sine"].transpose(0, 1),
        (3, 4),
        with_attention=True,
    )
    published = output.transpose(0, 1)  # [query, batch, class, C]
    case.compare("output", published, tolerance)
    case.compare("next_queries", published.flatten(0, 1).transpose(0, 1), tolerance)
    case.compare("attention_mean_over_heads", attention.transpose(0, 1).flatten(0, 1), tolerance)
    (published * case.cotangent("output", published)).sum().backward()
    for name in ("actor", "query_memory", "pos", "sine", "class_queries"):
        case.compare(f"grad_{name}", inputs[name].grad, grad_tolerance)
    case.compare("grad_conv1_bias", layer.conv_block.conv1.bias.grad, grad_tolerance)
    case.compare("grad_k_proj", layer.k_proj.weight.grad[:, :, 0, 0], grad_tolerance)


def _run(layer, memory_of_each=True, with_attention=True):
    torch.manual_seed(1)
    actor, sine = torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    own = torch.randn(2, 1, 12, 16)
    mask = torch.zeros(2, 12, dtype=torch.bool)
    mask[1, 9:] = True
    classes, pos = torch.randn(4, 16), torch.randn(2, 12, 16)
    own = own.expand(-1, 3, -1, -1) if memory_of_each else own
    return layer(classes, actor, own, pos, mask, sine, (3, 4), with_attention=with_attention)


def test_attention_is_a_distribution_over_the_cells():
    layer = ClassifyingLayer(**SMALL).eval()
    output, attention = _run(layer)
    assert attention.shape == (2, 3, 4, 12)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 4))
    assert attention[1, :, :, 9:].min() > 0  # padded cells take part, as published
    assert _run(layer, with_attention=False)[1] is None
    masked = ClassifyingLayer(**SMALL, mask_classes=True).eval()
    masked.load_state_dict(layer.state_dict())
    found, attention = _run(masked)
    assert not attention[1, :, :, 9:].any()
    torch.testing.assert_close(found[0], output[0])
    assert (found[1] - output[1]).abs().max() > 1e-3


def test_half_of_the_heads_look_by_position_alone():
    """What all classes of an actor share differs between classes only in the other half."""
    layer = ClassifyingLayer(**SMALL).eval()
    with torch.no_grad():
        layer.k_proj.weight.zero_()
        layer.k_proj.bias.zero_()
    attention = _run(layer)[1]
    torch.testing.assert_close(attention, attention[:, :, :1].expand_as(attention))
    # The half that compares contents sees no difference between the cells any more.
    assert (attention > 0.5 / 12 - 1e-6).all()


def test_one_memory_serves_all_queries():
    layer = ClassifyingLayer(**SMALL).eval()
    for one, two in zip(_run(layer), _run(layer, memory_of_each=False)):
        torch.testing.assert_close(one, two)


def test_an_odd_number_of_heads_is_refused():
    with pytest.raises(UserError, match="NUM_HEADS is 3; choose an even number"):
        ClassifyingLayer(dim=24, num_heads=3, feedforward_dim=8, dropout=0.0)
