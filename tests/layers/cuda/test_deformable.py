"""Deformable attention by kernels against PyTorch's operators."""

import copy

import pytest
import torch

pytest.importorskip("triton")
from tubedet.layers import MultiScaleDeformableAttention, MultiScaleDeformableAttention3d
from tubedet.layers.cuda import availability, deformable

EXACT = {"rtol": 1e-11, "atol": 1e-11}
MAPS = [(5, 7), (3, 4), (1, 1)]
VIDEOS = [(3, 5, 7), (3, 3, 4), (1, 2, 1)]
# Sizes of the maps, numbers of a reference, offset normaliser
CASES = {
    "points": (MAPS, 2, None),
    "boxes": (MAPS, 4, None),
    "one level": (MAPS[:1], 2, None),
    "video, right": (VIDEOS, 3, "right"),
    "video, published": (VIDEOS, 3, "published"),
}


@pytest.fixture(autouse=True)
def several_programs(monkeypatch, kernel_device):
    monkeypatch.setattr(deformable, "_BLOCK_NUMBERS", 64)
    monkeypatch.setattr(deformable, "_BLOCK_NUMBERS_OF_GRADIENT", 32)


def _attention(case, device, dtype=torch.float64, dim=24):
    """An attention whose points go beyond the maps, and its arguments."""
    torch.manual_seed(0)
    shapes, reference_dim, normalizer = CASES[case]
    kind = MultiScaleDeformableAttention if normalizer is None else MultiScaleDeformableAttention3d
    options = {} if normalizer is None else {"normalizer": normalizer}
    attention = kind(dim, 2, len(shapes), 3, triton=True, **options)
    for linear in (attention.sampling_offsets, attention.attention_weights):
        torch.nn.init.normal_(linear.weight, std=0.3)
    attention.to(device, dtype)
    cells = sum(torch.Size(shape).numel() for shape in shapes)
    query, memory = torch.randn(2, 9, dim), torch.randn(2, cells, dim)
    references = torch.rand(2, 9, len(shapes), reference_dim) * 1.4 - 0.2
    tensors = [x.to(device, dtype).requires_grad_() for x in (query, references, memory)]
    mask = torch.zeros(2, cells, dtype=torch.bool, device=device)
    mask[1, 2::5] = True
    return attention, tensors, shapes, mask


def _by_operators(attention):
    plain = copy.deepcopy(attention)
    plain.triton = False
    return plain


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_forward_and_backward(case, masked, kernel_device):
    attention, tensors, shapes, mask = _attention(case, kernel_device)
    plain, mask = _by_operators(attention), mask if masked else None
    deformable._tables.clear()
    out, expected = (module(*tensors, shapes, mask) for module in (attention, plain))
    assert deformable._tables  # the kernel has run
    torch.testing.assert_close(out, expected, **EXACT)
    upstream = torch.randn_like(out)
    gradients, expected_gradients = (
        torch.autograd.grad((result * upstream).sum(), [*tensors, *module.parameters()])
        for result, module in ((out, attention), (expected, plain))
    )
    for one, other in zip(gradients, expected_gradients):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_result_alone(dtype, kernel_device):
    attention, tensors, shapes, _ = _attention("points", kernel_device, dtype)
    with torch.no_grad():
        rows = attention._values(tensors[2], None)
        offsets = attention.sampling_offsets(tensors[0]).unflatten(-1, (2, 3, 3, 2))
        logits = attention.attention_weights(tensors[0]).unflatten(-1, (2, 3, 3))
    units = [attention._unit(shape) for shape in shapes]
    half = [x.detach().requires_grad_() for x in (rows, offsets, logits)]
    exact = [x.detach().double().requires_grad_() for x in half]
    references = tensors[1].detach().float()
    results, gradients = [], []
    for inputs, places in ((half, references), (exact, references.double())):
        results.append(deformable.read_points(*inputs, places, shapes, units))
        upstream = torch.ones_like(results[-1])
        gradients.append(torch.autograd.grad(results[-1], inputs, upstream))
    assert results[0].dtype == dtype
    step = torch.finfo(dtype).eps  # Triton's interpreter cuts digits off instead of rounding
    torch.testing.assert_close(results[0].double(), results[1], rtol=step, atol=1e-5)
    for one, other in zip(*gradients):
        assert one.dtype == dtype
        # The weights' gradient has the difference of products with the rounded result.
        assert (one.double() - other).norm() < 4 * step * other.norm()


def test_sums_and_views_have_gradients_too(kernel_device):
    """An upstream gradient that is one number, transposed and expanded inputs."""
    attention, (query, references, memory), shapes, _ = _attention("points", kernel_device)
    rows = attention._values(memory, None).detach().transpose(1, 2).contiguous().transpose(1, 2)
    offsets = attention.sampling_offsets(query).detach().unflatten(-1, (2, 3, 3, 2))
    logits = attention.attention_weights(query).detach().unflatten(-1, (2, 3, 3))
    references = references.detach()[:, :, :1]
    units = [attention._unit(shape) for shape in shapes]
    results = []
    for views in (True, False):
        inputs = [rows, offsets, logits, references.expand(-1, -1, 3, -1)]
        inputs = [(x if views else x.contiguous()).requires_grad_() for x in inputs]
        out = deformable.read_points(*inputs, shapes, units)
        upstream = None if views else torch.ones_like(out)
        total = out.sum() if views else out
        results.append([out, *torch.autograd.grad(total, inputs, upstream)])
    for one, other in zip(*results):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other, **EXACT)


def test_large_logits(kernel_device):
    attention, tensors, shapes, mask = _attention("points", kernel_device)
    with torch.no_grad():
        attention.attention_weights.weight.mul_(1e4)
        out, expected = (
            module(*tensors, shapes, mask) for module in (attention, _by_operators(attention))
        )
    torch.testing.assert_close(out, expected, **EXACT)


def test_maps_of_another_size(kernel_device):
    """The units of boxes do not tell the sizes of maps."""
    attention, (query, references, memory), _, _ = _attention("boxes", kernel_device)
    for shapes in ([(5, 7), (3, 4), (1, 1)], [(7, 5), (4, 3), (1, 1)]):
        out, expected = (
            module(query, references, memory, shapes)
            for module in (attention, _by_operators(attention))
        )
        torch.testing.assert_close(out, expected, **EXACT)


@pytest.mark.parametrize("which", range(3))
def test_what_is_not_a_number_is_not_hidden(which, kernel_device):
    attention, tensors, shapes, _ = _attention("boxes", kernel_device)
    with torch.no_grad():
        tensors[which].view(-1)[0] = float("nan")
        out, expected = (
            module(*tensors, shapes) for module in (attention, _by_operators(attention))
        )
    torch.testing.assert_close(out, expected, equal_nan=True, **EXACT)
    assert out.isnan().any()


def test_sizes_that_do_not_fit(kernel_device):
    attention, (query, references, memory), shapes, _ = _attention("points", kernel_device)
    for wrong in (
        (query, references, memory, [(5, 7), (3, 4), (1, 2)]),
        (query, references, memory, shapes[:2]),
        (query, references, memory[:1], shapes),
        (query, references[..., :1], memory, shapes),
    ):
        with pytest.raises(ValueError, match="do not fit maps of"):
            attention(*wrong)


def test_tables_of_detection_serve_training(kernel_device):
    attention, tensors, shapes, mask = _attention("points", kernel_device, torch.float32)
    deformable._tables.clear()
    with torch.inference_mode():
        attention(*tensors, shapes, mask)
    (table,) = deformable._tables.values()
    attention(*tensors, shapes, mask).sum().backward()
    assert tensors[0].grad.abs().sum() > 0
    assert [x is table for x in deformable._tables.values()] == [True]


def test_where_no_kernel_runs_operators_do(monkeypatch):
    attention, tensors, shapes, mask = _attention("points", "cpu")
    monkeypatch.setattr(availability, "runs_kernels", lambda x: False)
    monkeypatch.setattr(deformable, "read_points", None)
    assert attention(*tensors, shapes, mask).isfinite().all()
