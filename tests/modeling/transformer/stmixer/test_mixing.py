"""Mixing by matrices of the query, against what the published code computed and by hand."""

import pytest
import torch
import torch.nn.functional as F
from reference_cases import assert_gradients_close, assert_relatively_close
from stmixer_cases import drawn, stmixer_case

from tubedet.modeling.transformer.stmixer import AdaptiveMixing

GRADIENTS = {
    "generator_weight": "parameter_generator.0.weight",
    "out_proj_weight": "out_proj.weight",
}


def _reference(kind):
    case = stmixer_case("adaptive_mixing")
    config = case.meta["config"]
    sizes = config["modules"][kind]
    mixing = AdaptiveMixing(
        config["dim"], config["groups"], sizes["in_points"], sizes["out_points"]
    )
    weights = case.state_dict()
    own = {k.removeprefix(f"{kind}."): v for k, v in weights.items() if k.startswith(kind)}
    mixing.load_state_dict(own)
    x = drawn(case, f"x_{kind}", sizes["x"][1])
    query = drawn(case, f"q_{kind}", sizes["query"][1])
    # Stored as (B, N, G, points, channels).
    return case, mixing.double(), x, query


@pytest.mark.parametrize("kind", ["spatial", "temporal"])
def test_results_and_gradients_are_the_published_ones(kind):
    case, mixing, x, query = _reference(kind)
    out = mixing(x, query)
    assert_relatively_close(out, case.outputs[f"{kind}/out"], 1e-8)
    loss = (out * case.draw(f"cotangent/{kind}", out.shape)).sum()
    wanted = [x, query, *(mixing.get_parameter(name) for name in GRADIENTS.values())]
    gradients = torch.autograd.grad(loss, wanted)
    named = dict(zip(["x", "query", *GRADIENTS], gradients))
    assert_gradients_close(case, kind, named, 1e-8)


@pytest.mark.parametrize("kind", ["spatial", "temporal"])
def test_float32_is_as_close_as_rounding_allows(kind):
    case, mixing, x, query = _reference(kind)
    with torch.no_grad():
        out = mixing.float()(x.float(), query.float())
    assert_relatively_close(out, case.outputs[f"{kind}/out"], 1e-4)


def test_the_channel_matrix_multiplies_from_the_right_and_the_point_matrix_from_the_left():
    torch.manual_seed(0)
    mixing = AdaptiveMixing(4, 2, 3, 5).double()
    x, query = torch.randn(1, 1, 2, 3, 2).double(), torch.randn(1, 1, 4).double()
    numbers = mixing.parameter_generator(query).view(2, 4 + 15)
    rows = []
    for group in range(2):
        by_channel, by_point = numbers[group, :4].view(2, 2), numbers[group, 4:].view(5, 3)
        y = F.layer_norm(x[0, 0, group] @ by_channel, (3, 2)).relu()
        rows.append(F.layer_norm(by_point @ y, (5, 2)).relu().flatten())
    expected = query[0, 0] + mixing.out_proj(torch.cat(rows))
    torch.testing.assert_close(mixing(x, query)[0, 0], expected)


def test_generated_matrices_are_not_copied():
    mixing = AdaptiveMixing(64, 4, 32, 128)
    x, query = torch.randn(1, 9, 4, 32, 16), torch.randn(1, 9, 64)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda y: kept.append(y) or y, lambda y: y):
        mixing(x, query)
    generated = 9 * 4 * (16 * 16 + 32 * 128)
    storages = [y.untyped_storage() for y in kept]
    large = {x.data_ptr() for x in storages if x.nbytes() // 4 == generated}
    assert len(large) == 1
    assert mixing.parameter_generator[0].out_features * 9 == generated
