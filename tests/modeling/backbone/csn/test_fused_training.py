"""A CSN's ways of training against each other: one result, different needs of memory."""

import copy
import itertools

import pytest
import torch
from detectron2.modeling import build_backbone
from random_norms import with_random_norms
from small_detectors import small_detector

from tubedet.engine import load_config
from tubedet.layers.cuda import availability
from tubedet.modeling import CSN
from tubedet.modeling.backbone.csn import row_norm
from tubedet.modeling.backbone.csn.csn import STAGES, Bottleneck, Stem
from tubedet.modeling.backbone.csn.execution import EXECUTIONS

EXACT = {"rtol": 1e-10, "atol": 1e-10}
# stride, projection, (B, T, H, W)
BLOCKS = [
    ((1, 1, 1), False, (2, 5, 7, 6)),
    ((1, 1, 1), False, (1, 1, 3, 4)),
    ((1, 1, 1), True, (2, 1, 5, 5)),
    ((1, 2, 2), True, (1, 3, 7, 6)),
    ((2, 1, 1), True, (2, 4, 3, 6)),
    ((2, 2, 2), True, (2, 7, 7, 9)),
    ((2, 2, 2), True, (2, 1, 6, 5)),
    ((4, 1, 1), True, (1, 9, 3, 3)),
]
# Ways to execute: MODEL.CSN.EXECUTION, and whether by Triton kernels. These run on the CPU in the
# interpreter; where there is a GPU it runs them, see tests/gpu/test_execution.py.
IN_INTERPRETER = availability.has_triton() and not torch.cuda.is_available()
BY_KERNELS = ["fused triton", "checkpointed triton"] if IN_INTERPRETER else []
FAST = ["fused", "checkpointed", *BY_KERNELS]
WAYS = ["modules", *FAST]


@pytest.fixture(autouse=True)
def several_slices(monkeypatch):
    monkeypatch.setattr(row_norm, "_CHUNK_NUMBERS", 500)


@pytest.fixture(autouse=True)
def kernels_in_the_interpreter(monkeypatch):
    """Kernels compute on the CPU too, in Triton's interpreter."""
    monkeypatch.setattr(availability, "runs_kernels", lambda x: True)


def _way(name):
    """Arguments of a part or a CSN for one of the WAYS."""
    return {"execution": name.split()[0], "triton": name.endswith("triton")}


def _block(execution, stride=(1, 1, 1), project=False, norm="BN"):
    torch.manual_seed(0)
    width = 32 if norm == "GN" else 8
    in_channels = width * (3 if project else 4)
    block = Bottleneck(in_channels, width, stride, project, norm, **_way(execution))
    return with_random_norms(block).double().train()


def _map(channels, size, **options):
    torch.manual_seed(1)
    x = torch.randn(size[0], channels, *size[1:], dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    return x.requires_grad_(**options)


def _results(part, x):
    """Output, gradients of the input and of all parameters (None: none), and the state after it."""
    out = part(x)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
    upstream = upstream.contiguous(memory_format=torch.channels_last_3d)  # as the next block's is
    before = upstream.clone()
    out.backward(upstream)
    assert torch.equal(upstream, before)
    gradients = {name: p.grad for name, p in part.named_parameters()}
    x_grad, x.grad = x.grad, None
    return {"out": out.detach(), "x": x_grad, **gradients, **dict(part.named_buffers())}


def _assert_same(results, expected, **tolerance):
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        assert (results[name] is None) == (value is None), name
        if value is not None:
            torch.testing.assert_close(
                results[name], value, **(tolerance or EXACT), msg=lambda m, n=name: f"{n}: {m}"
            )


def _is_fused(out):
    return out.grad_fn.name() in (
        "BottleneckFunctionBackward",
        "StemFunctionBackward",
        "BottleneckKernelsBackward",
        "StemKernelsBackward",
    )


@pytest.mark.parametrize("execution", FAST)
@pytest.mark.parametrize("stride, project, size", BLOCKS)
def test_blocks_equal_their_modules(stride, project, size, execution):
    block, twin = (_block(how, stride, project) for how in (execution, "modules"))
    x = _map(24 if project else 32, size)
    before = x.detach().clone()
    assert _is_fused(copy.deepcopy(block)(x))
    expected = _results(twin, x)
    assert expected["norm1.num_batches_tracked"] == 1
    _assert_same(_results(block, x), expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("execution", FAST)
@pytest.mark.parametrize("kind", ["evaluation", "FrozenBN"])
def test_fixed_statistics(kind, execution):
    norm = kind if kind == "FrozenBN" else "BN"
    for stride, project, size in (BLOCKS[0], BLOCKS[5]):
        block, twin = (_block(how, stride, project, norm) for how in (execution, "modules"))
        x = _map(24 if project else 32, size)
        for part in (block, twin):
            part.train(kind == "FrozenBN")
        before = {name: value.clone() for name, value in block.named_buffers()}
        assert _is_fused(block(x))
        _assert_same(_results(block, x), _results(twin, x))
        assert all(torch.equal(value, before[name]) for name, value in block.named_buffers())


@pytest.mark.parametrize("execution", FAST)
@pytest.mark.parametrize("frozen", ["conv2.weight", "norm2.weight", "shortcut"])
def test_frozen_parameters_get_no_gradient(frozen, execution):
    parts = [_block(how, (1, 2, 2), True) for how in (execution, "modules")]
    for part in parts:
        for name, parameter in part.named_parameters():
            parameter.requires_grad = not name.startswith(frozen)
    x = _map(24, (2, 3, 5, 4))
    assert _is_fused(copy.deepcopy(parts[0])(x))
    results, expected = (_results(part, x) for part in parts)
    none = {name for name, value in results.items() if value is None}
    assert none and all(name.startswith(frozen) for name in none)
    _assert_same(results, expected)


@pytest.mark.parametrize("execution", FAST)
def test_an_input_without_a_gradient(execution):
    parts = [_block(how, (2, 1, 1), True) for how in (execution, "modules")]
    x = _map(24, (2, 3, 5, 4), requires_grad=False)
    results, expected = (_results(part, x) for part in parts)
    assert results["x"] is None
    _assert_same(results, expected)


@pytest.mark.parametrize("execution", FAST)
def test_two_backward_passes_through_one_graph_add_up(execution):
    block, x = _block(execution), _map(32, (2, 3, 5, 4))
    out = block(x).sum()
    out.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in block.named_parameters()}
    out.backward()
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(parameter.grad, 2 * once[name], **EXACT)


@pytest.mark.parametrize("execution", FAST)
def test_statistics_of_evaluation_are_those_of_its_forward_pass(execution):
    x, block, twin = _map(32, (2, 3, 5, 4)), _block(execution).eval(), _block("modules").eval()
    (expected,) = torch.autograd.grad(twin(x).sum(), x)
    out = block(x)
    block.train()(x.detach())  # moves the running averages
    (d_x,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(d_x, expected, **EXACT)


def test_gradients_of_gradients_are_refused():
    x = _map(32, (2, 3, 5, 4))
    (d_x,) = torch.autograd.grad(_block("fused")(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        d_x.square().sum().backward()


@pytest.mark.parametrize("execution", FAST)
@pytest.mark.parametrize("kind", ["training", "evaluation", "FrozenBN"])
@pytest.mark.parametrize("size", [(2, 5, 33, 46), (1, 1, 18, 21)])
def test_stem_equals_its_modules(size, kind, execution):
    parts = []
    for how in (execution, "modules"):
        torch.manual_seed(0)
        stem = Stem(8, kind if kind == "FrozenBN" else "BN", **_way(how))
        parts.append(with_random_norms(stem).double().train(kind != "evaluation"))
    x = _map(3, size, requires_grad=False)
    assert _is_fused(copy.deepcopy(parts[0])(x))
    results, expected = (_results(part, x) for part in parts)
    _assert_same(results, expected)


@pytest.mark.parametrize("execution", FAST)
def test_a_gradient_reaches_a_clip_that_wants_one(execution):
    torch.manual_seed(0)
    stem = with_random_norms(Stem(8, "BN", **_way(execution))).double()
    twin = copy.deepcopy(stem)
    twin.execution = "modules"
    x = _map(3, (1, 3, 18, 21))
    results = _results(stem, x)
    assert results["x"].any()
    _assert_same(results, _results(twin, x))


def _small_csn(execution, width=0.125, **arguments):
    torch.manual_seed(0)
    csn = CSN(depth=26, width_multiplier=width, out_features=STAGES, **_way(execution), **arguments)
    return with_random_norms(csn).train()


@pytest.mark.parametrize("arguments", [{}, {"freeze_at": 2}, {"norm": "FrozenBN"}], ids=str)
def test_whole_backbones_agree(arguments):
    torch.manual_seed(1)
    clips = torch.randn(2, 3, 3, 19, 22, dtype=torch.float64)
    results = {}
    for execution in WAYS:
        csn = _small_csn(execution, **arguments).double()
        features = csn(clips)
        loss = sum(features[name].square().mean() for name in STAGES)
        loss.backward()
        results[execution] = {
            "loss": loss.detach(),
            **{name: p.grad for name, p in csn.named_parameters()},
            **dict(csn.named_buffers()),
        }
    assert any(value is not None for value in results["modules"].values())
    for execution in FAST:
        _assert_same(results[execution], results["modules"])


@pytest.mark.parametrize(
    "case, execution",
    [
        *itertools.product(["bfloat16"], ["fused", "checkpointed"]),
        *itertools.product(["GN", "mean of all batches"], FAST),
    ],
)
def test_what_cannot_be_fused_runs_by_modules(case, execution):
    norm = "GN" if case == "GN" else "BN"
    parts = [_block(how, norm=norm) for how in (execution, "modules")]
    if case == "mean of all batches":
        for part in parts:
            part.norm2.momentum = None
    x = _map(128 if norm == "GN" else 32, (2, 3, 5, 4))
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "bfloat16"):
        if case == "bfloat16":
            parts, x = [part.float() for part in parts], x.detach().float().requires_grad_()
        assert not _is_fused(copy.deepcopy(parts[0])(x))
        results, expected = (_results(part, x) for part in parts)
    _assert_same(results, expected, rtol=0, atol=0)


def test_without_gradients_nothing_is_fused():
    block, twin = _block("fused"), _block("modules")
    x = _map(32, (2, 3, 5, 4))
    with torch.no_grad():
        assert torch.equal(block(x), twin(x))
    frozen = _block("fused").requires_grad_(False)
    assert frozen(x.detach()).grad_fn is None


def test_an_unknown_execution_names_its_key():
    with pytest.raises(ValueError, match="MODEL.CSN.EXECUTION is 'eager'.*checkpointed"):
        build_backbone(load_config("", ["MODEL.CSN.EXECUTION", "eager"]))


def test_the_config_decides():
    for execution in EXECUTIONS:
        cfg = load_config("", ["MODEL.CSN.EXECUTION", execution, "MODEL.CSN.DEPTH", 26])
        assert build_backbone(cfg).res3[1].execution == execution


def _kept_bytes(csn, clips):
    """Memory that the forward pass keeps for the backward pass, without weights and the clip."""
    foreign = {x.untyped_storage().data_ptr() for x in (clips, *csn.parameters(), *csn.buffers())}
    kept = {}

    def pack(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in foreign:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        features = csn(clips)
    assert features["res5"].requires_grad
    return sum(kept.values())


def test_what_is_kept_for_the_backward_pass():
    clips = torch.randn(1, 3, 4, 64, 64)
    kept = {}
    for execution in WAYS:
        csn = CSN(depth=26, width_multiplier=0.25, **_way(execution)).train()
        kept[execution] = _kept_bytes(csn, clips)
    for execution in FAST:
        most = 0.35 if execution.startswith("checkpointed") else 0.6
        assert kept[execution] <= most * kept["modules"], execution


def test_checkpointing_keeps_little_of_modules_too():
    clips = torch.randn(1, 3, 4, 32, 32)
    kept = [
        _kept_bytes(_small_csn(execution, width=0.5, norm="GN"), clips)
        for execution in ("modules", "checkpointed")
    ]
    assert kept[1] <= 0.35 * kept[0]


def test_training_gives_the_same_loss_curve(make_clip_input):
    inputs = [
        [make_clip_input(4, 32, 40, 80, seed=seed), make_clip_input(4, 40, 32, 80, seed=seed + 1)]
        for seed in range(0, 8, 2)
    ]
    curves = {}
    for execution in ("modules", "fused"):
        # Kernels would take minutes in the interpreter.
        opts = ["MODEL.CSN.EXECUTION", execution, "MODEL.CSN.TRITON", False]
        _, model = small_detector("TubeR", opts=opts)
        # Without a larger eps AdamW's steps are as large for a gradient that is mere rounding.
        optimizer = torch.optim.AdamW(model.double().train().parameters(), lr=5e-4, eps=1e-4)
        curves[execution] = []
        for step in range(20):
            loss = sum(model(inputs[step % len(inputs)]).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curves[execution].append(loss.item())
    first, last = curves["modules"][0], curves["modules"][16]  # of the same clips
    assert last < 0.95 * first
    assert curves["fused"] == pytest.approx(curves["modules"], rel=1e-9)
