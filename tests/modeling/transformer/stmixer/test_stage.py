"""One stage, against what the published code computed, and what a fixture does not show."""

import pytest
import torch
from reference_cases import assert_relatively_close
from stmixer_cases import drawn, drawn_maps, padded_sides, random_stage, stmixer_case

from tubedet.modeling.transformer.stmixer import STMixerStage
from tubedet.modeling.transformer.stmixer.box_state import box_corners

# The weight with which the boxes count in the stored gradients; the rest counts once.
BOX_WEIGHT = 0.01


def _reference():
    case = stmixer_case("decoder_stage")
    config = case.meta["config"]
    stage = STMixerStage(
        dim=config["dim"],
        num_actions=config["actions"],
        num_heads=config["heads"],
        feedforward_dim=config["ffn"],
        groups=config["groups"],
        num_points=config["spatial_points"],
        num_steps=config["temporal_points"],
        out_multiplier=config["out_multiplier"],
    )
    stage.load_state_dict(case.state_dict())
    maps = drawn_maps(case)
    state = case.tensor("in/xyzr").requires_grad_()
    shape = (config["B"], config["N"], config["dim"])
    queries = [drawn(case, f"{kind}_query", shape) for kind in ("spatial", "temporal")]
    return case, stage.double(), maps, state, queries


def _results(output):
    return {
        "person_logits": output.person_logits,
        "action_logits": output.action_logits,
        "spatial_query": output.spatial,
        "temporal_query": output.temporal,
        "xyzr": output.state,
        "boxes": box_corners(output.state),
    }


def test_results_and_gradients_are_the_published_ones():
    case, stage, maps, state, queries = _reference()
    deltas = []
    stage.fc_reg.register_forward_hook(lambda module, inputs, output: deltas.append(output))
    output = stage(maps, state, *queries, padded_sides(maps), 3.0)
    results = {**_results(output), "delta": deltas[0]}
    loss = torch.zeros(())
    for name, result in results.items():
        assert_relatively_close(result, case.outputs[name], 1e-7)
        weight = BOX_WEIGHT if name == "boxes" else 1
        loss = loss + weight * (result * case.draw(f"cotangent/{name}", result.shape)).sum()
    wanted = {"xyzr": state, "level1": maps[1], "level3": maps[3]}
    wanted |= {"spatial_query": queries[0], "temporal_query": queries[1]}
    stored = [key[5:-4] for key in case.outputs.files if key.startswith("grad/") and "_idx" in key]
    assert len(stored) == 11
    wanted |= {name: stage.get_parameter(name) for name in stored if name not in wanted}
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    for name, gradient in zip(wanted, gradients, strict=True):
        found = gradient.flatten()[case.outputs[f"grad/{name}_idx"]]
        assert_relatively_close(found, case.outputs[f"grad/{name}"], 1e-7)


def test_float32_is_as_close_as_rounding_allows():
    case, stage, maps, state, queries = _reference()
    maps, (state, *queries) = (
        [x.detach().float() for x in given] for given in (maps, (state, *queries))
    )
    with torch.no_grad():
        output = stage.float()(maps, state, *queries, padded_sides(maps), 3.0)
    for name, result in _results(output).items():
        assert_relatively_close(result, case.outputs[name], 1e-4)


def _random_inputs(batch=2, num_queries=4, dim=16, steps=2):
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(batch, dim, steps, 16 // s, 24 // s, generator=generator) for s in (1, 2)]
    queries = [torch.randn(batch, num_queries, dim, generator=generator) for _ in range(2)]
    state = torch.tensor([48.0, 32.0, 5.0, 0.0]) + torch.rand(
        batch, num_queries, 4, generator=generator
    )
    maps, queries = ([x.double() for x in given] for given in (maps, queries))
    return maps, state.double(), *queries, padded_sides(maps), 3.0


def test_boxes_and_sampling_stay_precise_under_autocast():
    stage = random_stage().float()
    maps, *rest = _random_inputs()
    maps, rest = [x.float() for x in maps], [x.float() if torch.is_tensor(x) else x for x in rest]
    precise = stage(maps, *rest)
    with torch.autocast("cpu", torch.bfloat16):
        half = stage(maps, *rest)
    assert half.state.dtype == torch.float32 and half.action_logits.dtype == torch.bfloat16
    # The centres of boxes of 32 pixels lie within one pixel; half precision alone rounds by 0.25.
    moved = (half.state - precise.state).abs()
    assert 0 < moved[..., :2].max() < 1
    assert moved[..., 2:].max() < 0.1


def test_a_detector_of_persons_has_no_branch_of_time():
    stage = random_stage(num_actions=0)
    assert not any("_t." in name or "action" in name for name, _ in stage.named_parameters())
    maps, state, spatial, _, sides, centre = _random_inputs()
    output = stage(maps, state, spatial, None, sides, centre)
    assert output.temporal is None and output.action_logits is None
    whole = random_stage()
    whole.load_state_dict(stage.state_dict(), strict=False)
    expected = whole(*_random_inputs())
    torch.testing.assert_close(output.person_logits, expected.person_logits)
    torch.testing.assert_close(output.state, expected.state)


def test_the_temporal_branch_sees_the_order_of_the_steps_and_the_spatial_one_does_not():
    stage = random_stage()
    maps, *rest = _random_inputs()
    there, back = stage(maps, *rest), stage([x.flip(2) for x in maps], *rest)
    torch.testing.assert_close(there.state, back.state)
    torch.testing.assert_close(there.person_logits, back.person_logits)
    assert (there.action_logits - back.action_logits).abs().max() > 1e-3


def test_a_stage_starts_with_the_boxes_it_gets_and_points_within_half_a_box():
    torch.manual_seed(2)
    stage = STMixerStage(
        dim=16,
        num_actions=3,
        num_heads=2,
        feedforward_dim=8,
        groups=2,
        num_points=32,
        num_steps=2,
        out_multiplier=2,
    ).double()
    maps, state, *rest = _random_inputs()
    assert torch.equal(stage(maps, state, *rest).state, state)
    offsets = stage.samplingmixing.offset_generator[0]
    assert not offsets.weight.any() and not offsets.bias.view(-1, 3)[:, 2].any()
    assert 0.4 < offsets.bias.view(-1, 3)[:, :2].abs().max() <= 0.5
    assert 0 <= stage.iof_tau.min() and stage.iof_tau.max() <= 4


@pytest.mark.parametrize("wanted", [True, False])
def test_logits_are_made_where_they_are_asked_for(wanted):
    output = random_stage()(*_random_inputs(), with_logits=wanted)
    assert (output.person_logits is not None) == (output.action_logits is not None) == wanted
