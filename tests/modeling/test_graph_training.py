"""Training from recordings gives the outputs and gradients of the model; graphs are stand-ins."""

import copy

import pytest
import torch
from simulated_graphs import SimulatedGraphs
from small_detectors import VIT_BODY, small_batch, small_config

from tubedet.engine import Trainer
from tubedet.modeling.graph_training import RecordedTraining
from tubedet.modeling.half_weights import HalfWeights

WITHOUT_DROPOUT = ["MODEL.TUBER.DROPOUT", 0.0, "MODEL.TUBER.ACTION_DROPOUT", 0.0]


def _models(name="TubeR", opts=WITHOUT_DROPOUT):
    torch.manual_seed(0)
    model = Trainer.build_model(small_config(name, opts)).train()
    other = copy.deepcopy(model)
    recorded = RecordedTraining()
    recorded._graphs = SimulatedGraphs()
    other.computed = lambda compute, clips, **options: recorded(
        other, compute, clips, options, reads_sizes=False
    )
    return model, other, recorded


def _batch(seed, cfg=None):
    batch = small_batch(cfg or small_config("TubeR", WITHOUT_DROPOUT))
    for item in batch:
        item["clip"] = item["clip"].roll(seed, dims=-1)
    return batch


def _gradients(model, batch, dtype=None):
    model.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        losses = model(batch) if dtype is None else HalfWeights(model).call(dtype, batch)
    sum(losses.values()).backward()
    return losses, {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_losses_and_gradients_are_those_of_the_model(dtype):
    model, other, recorded = _models()
    for seed in range(5):
        expected, found = (_gradients(some, _batch(seed), dtype) for some in (model, other))
        assert recorded._graphs.captures == (2 if seed >= 2 else 0)  # rare sizes are not worth it
        for one, two in zip(found, expected):
            assert one.keys() == two.keys()
            for key, value in two.items():
                torch.testing.assert_close(one[key], value)
        for some in (model, other):  # other weights in the next step
            torch.manual_seed(seed)
            with torch.no_grad():
                for p in some.parameters():
                    p.add_(torch.randn_like(p), alpha=1e-3)


def test_gradients_of_several_passes_add_up():
    model, other, recorded = _models()
    for some in (model, other):
        for seed in range(5):
            if seed == 3:
                some.zero_grad()
            sum(some(_batch(seed)).values()).backward()
    assert recorded._graphs.captures == 2
    for one, two in zip(other.parameters(), model.parameters()):
        torch.testing.assert_close(one.grad, two.grad)


def test_outputs_that_no_loss_reads_have_no_gradient():
    """Those of the step before are not taken for theirs."""
    model, other, recorded = _models()
    for some in (model, other):
        for seed in range(5):
            some.zero_grad()
            losses = some(_batch(seed))
            (sum(losses.values()) if seed < 4 else losses["loss_bbox"]).backward()
    assert recorded._graphs.captures == 2
    for one, two in zip(other.parameters(), model.parameters()):
        expected = torch.zeros_like(two) if two.grad is None else two.grad
        torch.testing.assert_close(one.grad, expected)


def test_a_pass_whose_memory_was_overwritten_is_refused():
    _, model, _ = _models()
    for seed in range(2):
        model(_batch(seed))
    first, second = (sum(model(_batch(seed)).values()) for seed in (2, 3))
    second.backward()
    with pytest.raises(RuntimeError, match="before the next forward pass"):
        first.backward()


def test_a_second_backward_pass_is_refused():
    _, model, _ = _models()
    for seed in range(3):
        loss = sum(model(_batch(seed)).values())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="has to come once"):
        loss.backward()


def test_weights_that_have_moved_are_recorded_again():
    _, model, recorded = _models()
    for seed in range(4):
        _gradients(model, _batch(seed))
    model.query_embed.weight.data = model.query_embed.weight.data.clone()
    _gradients(model, _batch(4))
    assert recorded._graphs.captures == 4
    assert len(recorded._recordings) == 1


def test_sizes_beyond_the_most_are_computed():
    _, model, recorded = _models()
    recorded._max_sizes = 1
    for width in (0, 8):
        for seed in range(4):
            batch = _batch(seed)
            for item in batch:
                item["clip"] = item["clip"][..., : item["clip"].shape[-1] - width]
            _gradients(model, batch)
    assert recorded._graphs.captures == 2


def test_frozen_weights_get_no_gradient():
    _, model, recorded = _models(opts=[*WITHOUT_DROPOUT, "MODEL.FREEZE", ["backbone.*"]])
    for seed in range(4):
        _, gradients = _gradients(model, _batch(seed), torch.bfloat16)
    assert recorded._graphs.captures == 2
    assert gradients
    assert not any(key.startswith("backbone.") for key in gradients)


def test_a_frozen_part_is_recorded_without_its_backward_pass():
    def predict(clips):
        return [model.features(clips)["res5"]]

    _, model, recorded = _models(opts=[*WITHOUT_DROPOUT, "MODEL.FREEZE", ["backbone.*"]])
    clips = model.batch(_batch(0))
    for _ in range(3):
        (found,) = recorded(model, predict, clips, {}, reads_sizes=False)
    assert recorded._graphs.captures == 1
    assert not found.requires_grad
    torch.testing.assert_close(found, predict(clips)[0])


CHECKPOINTED = {
    "CSN": ["MODEL.CSN.EXECUTION", "checkpointed", "MODEL.CSN.TRITON", False],
    "ViT": [*VIT_BODY, "MODEL.VIT.CHECKPOINTING", True],
}


@pytest.mark.parametrize("body", CHECKPOINTED)
def test_checkpointed_modules_read_the_same_weights_in_both_recorded_passes(body):
    """Half-precision copies of one step are gone when the graphs are replayed."""
    _, model, recorded = _models(opts=[*WITHOUT_DROPOUT, *CHECKPOINTED[body]])
    places = {name: [] for name, _ in model.backbone.named_modules()}
    for name, module in model.backbone.named_modules():
        if getattr(module, "weight", None) is not None:
            module.register_forward_pre_hook(
                lambda module, _, name=name: places[name].append(module.weight.data_ptr())
            )
    for seed in range(3):
        for found in places.values():
            found.clear()
        _gradients(model, _batch(seed), torch.bfloat16)
    assert recorded._graphs.captures == 2
    # Recorded twice and, by the stand-in, replayed twice.
    twice = [found for found in places.values() if len(found) == 4]
    assert len(twice) > 5
    assert all(len(set(found)) == 1 for found in twice)


def test_what_is_frozen_later_is_recorded_again():
    model, other, recorded = _models()
    changes = [("weight", False), ("bias", True), ("weight", True), ("bias", False)]
    for name, trains in changes:
        for some in (model, other):
            getattr(some.transformer.encoder.layers[0].norm1, name).requires_grad_(trains)
        for seed in range(3):
            (_, expected), (_, found) = (_gradients(some, _batch(seed)) for some in (model, other))
        assert found.keys() == expected.keys()
        for key, gradient in expected.items():
            torch.testing.assert_close(found[key], gradient)
    assert recorded._graphs.captures == 6  # "bias" has trained before


def test_modules_in_another_mode_are_recorded_again():
    _, model, recorded = _models()
    for mode in (True, False):
        model.backbone.train(mode)
        for seed in range(4):
            _gradients(model, _batch(seed))
    assert recorded._graphs.captures == 4


def test_a_copy_of_the_model_has_recordings_of_its_own():
    recorded = RecordedTraining(max_sizes=3)
    recorded.passes = 5
    other = copy.deepcopy(recorded)
    assert other._max_sizes == 3
    assert other.passes == 0
