import pytest
import torch
from short_training import assert_trains_in_bfloat16
from small_detectors import ARCHITECTURES, small_batch, small_detector
from torch import nn
from torch.testing import assert_close

from tubedet.errors import UserError
from tubedet.modeling.memory_reader import MemoryReader
from tubedet.modeling.memory_weights import base_fingerprint
from tubedet.modeling.preparation import prepare_for_inference

READER = ["MODEL.MEMORY.ENABLED", True, "MODEL.MEMORY.HIDDEN_DIM", 32]
READER += ["MODEL.MEMORY.NUM_HEADS", 4, "MODEL.MEMORY.FEEDFORWARD_DIM", 64]
# Those with key frames at seconds, and with actions.
NAMES = [x for x in ARCHITECTURES if x not in ("persons", "tubelets", "ClassQueryTubes", "decode")]


def reader(**changes):
    """A reader of vectors of 6 numbers whose last layer is not zero."""
    arguments = {
        "feature_dim": 6,
        "num_outputs": 3,
        "dim": 8,
        "num_heads": 2,
        "feedforward_dim": 16,
        "num_queries": (4, 5),
        "dropout": 0.0,
        "window": 10,
        "past_only": False,
    }
    torch.manual_seed(0)
    made = MemoryReader(**{**arguments, **changes}).double()
    nn.init.normal_(made.out.weight)
    return made.eval()


def memory(offsets, seed=1):
    """Vectors of 6 numbers at these seconds from the key frame."""
    vectors = torch.randn(len(offsets), 6, generator=torch.Generator().manual_seed(seed))
    return {"memory": vectors.half(), "memory_offsets": torch.tensor(offsets)}


FEATURES = torch.randn(1, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_what_is_not_there_counts_like_what_is_out_of_the_window():
    read = reader()
    near = memory([-3.0, 4.0])
    both = {name: torch.cat((value, memory([-11.0, 30.0])[name])) for name, value in near.items()}
    assert_close(read(FEATURES, [both]), read(FEATURES, [near]))
    assert (read(FEATURES, [near]) != 0).all()
    for nothing in ({}, memory([]), memory([-11.0, 12.0])):
        assert torch.equal(read(FEATURES, [nothing]), torch.zeros(1, 2, 3).double())


def test_clips_of_a_batch_do_not_see_each_other():
    read = reader()
    memories = [memory([-3.0, 4.0, 5.0]), {}, memory([1.0], seed=5)]
    features = torch.randn(3, 2, 6).double()
    together = read(features, memories)
    for index, own in enumerate(memories):
        assert_close(together[index : index + 1], read(features[index : index + 1], [own]))


def test_the_order_of_the_memory_says_nothing_and_its_times_do():
    read = reader()
    there = memory([-3.0, 4.0, 5.0])
    turned = {name: value.flip(0) for name, value in there.items()}
    assert_close(read(FEATURES, [there]), read(FEATURES, [turned]))
    later = {**there, "memory_offsets": there["memory_offsets"] + 1}
    assert (read(FEATURES, [there]) - read(FEATURES, [later])).abs().max() > 1e-3
    rounded = {**there, "memory_offsets": there["memory_offsets"] + 0.4}
    assert_close(read(FEATURES, [there]), read(FEATURES, [rounded]))


def test_live_readers_see_the_past_alone():
    live, whole = reader(past_only=True), reader()
    past, future = memory([-3.0, 0.0]), memory([2.0], seed=4)
    both = {name: torch.cat((value, future[name])) for name, value in past.items()}
    assert_close(live(FEATURES, [both]), live(FEATURES, [past]))
    assert_close(whole(FEATURES, [past]), live(FEATURES, [past]))
    assert (whole(FEATURES, [both]) - live(FEATURES, [both])).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_queries": (4,)}, r"NUM_QUERIES is \[4\]; give two positive numbers"),
        ({"window": 0}, "WINDOW is 0; give at least 1 second"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        reader(**changes)


def test_a_memory_of_another_model_is_refused():
    other = {"memory": torch.zeros(2, 7), "memory_offsets": torch.zeros(2)}
    with pytest.raises(UserError, match="vectors of 7 numbers, but persons of this model have 6"):
        reader()(FEATURES, [other])


def with_memories(batch, feature_dim):
    """The inputs, with some persons around each, and their own as given boxes."""
    for index, clip in enumerate(batch):
        generator = torch.Generator().manual_seed(index)
        clip["memory"] = torch.randn(7, feature_dim, generator=generator).half()
        clip["memory_offsets"] = torch.arange(-3.0, 4.0)
        clip["proposals"] = type(clip["instances"])(
            clip["instances"].image_size,
            proposal_boxes=clip["instances"].gt_boxes,
            scores=torch.ones(len(clip["instances"])),
        )
    return batch


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_starts_as_its_base_and_trains_the_reader_alone(name):
    _, base = small_detector(name)
    cfg, model = small_detector(name, opts=READER)
    model.load_state_dict(base.state_dict(), strict=False)
    assert base_fingerprint(model) == base_fingerprint(base)
    out = model.memory_reader.out
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    batch = with_memories(small_batch(cfg), model.memory_reader.feature_dim)

    def scores(detector, inputs):
        with torch.no_grad():
            return torch.cat([x["instances"].action_scores for x in detector(inputs)])

    alone = scores(base, batch)
    assert_close(scores(model, batch), alone)
    nn.init.normal_(out.weight)
    read = scores(model, batch)
    assert (read - alone).abs().max() > 1e-2
    with torch.no_grad():
        observed = model.observe(batch)
        later = [model.conclude([one], [x])[0] for one, x in zip(observed, batch)]
    assert_close(torch.cat([x["instances"].action_scores for x in later]), read)

    losses = model.train()(batch)
    sum(losses.values()).backward()
    assert {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad} == {
        "memory_reader"
    }
    assert all(p.grad is not None for p in model.memory_reader.parameters())
    assert not model.backbone.training and model.memory_reader.training


def test_persons_and_tubes_have_no_memory():
    with pytest.raises(UserError, match="MODEL.MEMORY is for actions, but MODEL.PERSON_ONLY"):
        small_detector("persons", opts=READER)
    with pytest.raises(UserError, match="MODEL.CLASS_QUERY.FRAMES is 'all'; choose 'key'"):
        small_detector("ClassQueryTubes", opts=READER)


def test_reading_layers_train_under_autocast_and_are_prepared_for_it():
    cfg, model = small_detector("TubeR", opts=READER)
    nn.init.normal_(model.memory_reader.out.weight)
    batch = with_memories(small_batch(cfg), 64)
    assert_trains_in_bfloat16(model, batch)
    model.eval()
    prepared = prepare_for_inference(model, torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain, quick = (x(batch)[0]["instances"].action_scores for x in (model, prepared))
    assert plain.dtype == torch.float32
    assert_close(quick, plain, atol=0.02, rtol=0.05)
