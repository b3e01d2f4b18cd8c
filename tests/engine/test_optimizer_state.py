import copy

import pytest
import torch
from torch import nn
from vit_skeletons import vit_skeleton

from tubedet.checkpoint import CheckpointError
from tubedet.engine.optimizer import parameter_groups
from tubedet.engine.optimizer_state import check_optimizer_state, with_own_settings


def _model(queries=6):
    return nn.ModuleDict(
        {"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2), "queries": nn.Embedding(queries, 4)}
    )


def _optimizer(model, factors=(("backbone.*", 0.1),), frozen=()):
    """After one step, so that there is a state."""
    for name in frozen:
        model.get_parameter(name).requires_grad = False
    groups = parameter_groups(model, base_lr=1.0, lr_factors=factors, weight_decay=0.0)
    optimizer = torch.optim.AdamW(groups, lr=1.0, fused=True)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    return optimizer


def _without_names(state):
    state = copy.deepcopy(state)
    for group in state["param_groups"]:
        del group["param_names"]
    return state


def test_the_state_of_the_same_parameters_is_taken():
    state = _optimizer(_model()).state_dict()
    other = _optimizer(_model(), factors=(("backbone.*", 0.2),))  # another rate of the same group
    for saved in (state, _without_names(state)):
        check_optimizer_state(other, saved)
    other.load_state_dict(state)
    check_optimizer_state(other, state)
    names = [group["param_names"] for group in other.param_groups]  # loading keeps them
    assert names == [
        ["backbone.weight", "backbone.bias"],
        ["head.weight", "head.bias", "queries.weight"],
    ]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frozen": ["backbone.bias"]}, "backbone.bias trained, but do not now .*MODEL.FREEZE"),
        (
            {"frozen": ["head.weight", "head.bias", "queries.weight"], "factors": ()},
            "head.bias, head.weight, queries.weight trained, but do not now .*SOLVER.LR",
        ),
        (
            {"frozen": ["backbone.weight", "backbone.bias", "head.weight", "head.bias"]},
            "backbone.bias, backbone.weight, head.bias and 1 more trained, but do not now",
        ),
    ],
)
def test_other_parameters_are_named(changes, message):
    before, now = _optimizer(_model()), _optimizer(_model(), **changes)
    state = with_own_settings(now, before.state_dict())
    with pytest.raises(CheckpointError, match=message):
        check_optimizer_state(now, state)


def test_parameters_that_train_anew_are_named():
    before = _optimizer(_model(), frozen=["head.weight", "head.bias"])
    with pytest.raises(CheckpointError, match="head.bias, head.weight did not train, but do now"):
        check_optimizer_state(_optimizer(_model()), before.state_dict())


def test_without_names_sizes_are_compared():
    before = _without_names(_optimizer(_model(), factors=()).state_dict())
    with pytest.raises(CheckpointError, match=r"of \[5\] parameters .* of \[2, 3\] do now"):
        check_optimizer_state(_optimizer(_model()), before)


@pytest.mark.parametrize("has_names", [True, False])
def test_another_shape_is_named(has_names):
    before = _optimizer(_model(queries=6)).state_dict()
    before = before if has_names else _without_names(before)
    shapes = r"queries.weight has the shape \[6, 4\], the parameter \[10, 4\]"
    with pytest.raises(CheckpointError, match=shapes):
        check_optimizer_state(_optimizer(_model(queries=10)), before)


@pytest.mark.parametrize("factors", [(), [("head.*", 0.1)], [("backbone.*", 0.2)]])
def test_other_rates_and_groups_are_those_of_the_optimiser(factors):
    before, now = _optimizer(_model()), _optimizer(_model(), factors=factors)
    state = with_own_settings(now, before.state_dict())
    check_optimizer_state(now, state)
    own = [(g["lr"], g["param_names"]) for g in now.param_groups]
    now.load_state_dict(state)
    assert [(g["lr"], g["param_names"]) for g in now.param_groups] == own
    moments = {
        name: before.state[p]["exp_avg"]
        for g in before.param_groups
        for name, p in zip(g["param_names"], g["params"])
    }
    for group in now.param_groups:
        for name, parameter in zip(group["param_names"], group["params"]):
            assert torch.equal(now.state[parameter]["exp_avg"], moments[name]), name


def test_without_names_rates_are_those_of_the_optimiser_too():
    before = _optimizer(_model(), factors=[("backbone.*", 0.5)])
    now = _optimizer(_model(), factors=[("backbone.*", 0.2)])
    state = with_own_settings(now, _without_names(before.state_dict()))
    assert [group["lr"] for group in state["param_groups"]] == [0.2, 1.0]
    frozen = _optimizer(_model(), frozen=["head.bias"]).state_dict()
    assert with_own_settings(now, frozen) is frozen


@pytest.mark.parametrize("has_names", [True, False])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_state_that_would_spoil_the_weights_is_refused(has_names, number):
    state = copy.deepcopy(_optimizer(_model()).state_dict())
    state["state"][1]["exp_avg_sq"][0] = number
    state = state if has_names else _without_names(state)
    message = r"of parameter backbone.bias, exp_avg_sq, has 1 of 2 numbers that are NaN or infinite"
    with pytest.raises(CheckpointError, match=message):
        check_optimizer_state(_optimizer(_model()), state)


def test_another_layer_decay_regroups_the_parameters_and_keeps_what_was_learned():
    def optimizer_of(layer_decay):
        torch.manual_seed(0)
        model = nn.ModuleDict({"backbone": vit_skeleton(depth=2), "head": nn.Linear(2, 2)})
        groups = parameter_groups(
            model, base_lr=1.0, lr_factors=[], weight_decay=0.0, layer_decay=layer_decay
        )
        optimizer = torch.optim.AdamW(groups, lr=1.0, fused=True)
        sum(i * p.sum() for i, p in enumerate(model.parameters(), 1)).backward()
        return model, optimizer

    before, saved = optimizer_of(1.0)
    saved.step()
    model, optimizer = optimizer_of(0.5)
    assert (len(saved.param_groups), len(optimizer.param_groups)) == (1, 4)
    state = with_own_settings(optimizer, saved.state_dict())
    check_optimizer_state(optimizer, state)
    optimizer.load_state_dict(state)
    rates = {n: g["lr"] for g in optimizer.param_groups for n in g["param_names"]}
    assert rates["backbone.patch_embed.proj.weight"] == 0.125 and rates["head.bias"] == 1.0
    for place, (name, parameter) in enumerate(model.named_parameters(), 1):
        moment = optimizer.state[parameter]["exp_avg"]
        assert torch.allclose(moment, torch.full_like(moment, 0.1 * place)), name
        assert torch.equal(moment, saved.state[before.get_parameter(name)]["exp_avg"]), name
