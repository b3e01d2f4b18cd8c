"""Deformable attention in space and time against the published one, and its own contracts."""

import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from class_query_cases import ClassQueryCase, module_weights
from simulated_gpu import DEVICE, SimulatedGPU

from tubedet.errors import UserError
from tubedet.layers import MultiScaleDeformableAttention3d
from tubedet.layers.deformable_attention_3d import read_maps, read_rows

ROOT = Path(__file__).parents[2]
SHAPES = [(4, 5, 6), (2, 3, 4), (2, 2, 3), (1, 2, 2)]


def _places(seed=0, batch=2, queries=7, heads=2, points=3, dtype=torch.float64):
    """Rows of maps, places of which some are outside, and weights."""
    torch.manual_seed(seed)
    cells = sum(math.prod(shape) for shape in SHAPES)
    rows = torch.randn(batch, cells, heads, 8, dtype=dtype)
    places = torch.rand(batch, queries, heads, len(SHAPES), points, 3, dtype=dtype) * 1.4 - 0.2
    weights = torch.rand(places.shape[:-1], dtype=dtype)
    return rows, places, weights


@pytest.mark.parametrize("chunk_size", [0, 14])
@pytest.mark.parametrize(
    "dtype, tolerance, grad_tolerance", [(torch.float64, 1e-9, 1e-8), (torch.float32, 5e-5, 1e-3)]
)
def test_output_and_gradients_equal_the_published(chunk_size, dtype, tolerance, grad_tolerance):
    case = ClassQueryCase("cq_msda3d")
    attention = MultiScaleDeformableAttention3d(256, 8, 4, 8, chunk_size=chunk_size)
    attention.load_state_dict(module_weights(case))
    attention.to(dtype)
    inputs = case.inputs(dtype)
    names = ("query", "reference_points", "value")
    tensors = [inputs[name].requires_grad_() for name in names]
    output = attention(
        *tensors, [tuple(s) for s in case.meta["dims"]["shapes_thw"]], inputs["padding_mask"]
    )
    case.compare("output", output, tolerance)
    (output * case.cotangent("output", output)).sum().backward()
    for name, tensor in zip(names, tensors):
        case.compare(f"grad_{name}", tensor.grad, grad_tolerance)
    for layer in ("sampling_offsets", "attention_weights"):
        case.compare(f"grad_{layer}_bias", getattr(attention, layer).bias.grad, grad_tolerance)


def test_both_ways_of_reading_are_equal():
    inputs = [x.requires_grad_() for x in _places()]
    other = [x.detach().clone().requires_grad_() for x in inputs]
    results = read_rows(*inputs, SHAPES), read_maps(*other, SHAPES)
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(results[0])
    for result in results:
        (result * cotangent).sum().backward()
    for one, two in zip(inputs, other):
        torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-11)


def test_a_point_in_the_middle_of_eight_cells_is_their_mean():
    rows = torch.arange(8.0).view(1, 8, 1, 1)
    middle = torch.full((1, 1, 1, 1, 1, 3), 0.5)
    weight = torch.full((1, 1, 1, 1, 1), 2.0)
    for read in (read_rows, read_maps):
        assert read(rows, middle, weight, [(2, 2, 2)]).item() == 7.0  # twice the mean of 0 .. 7
        # x, then y, then t: the first cell, and its neighbours along each axis.
        for axis, neighbour in enumerate((1.0, 2.0, 4.0)):
            place = torch.full((1, 1, 1, 1, 1, 3), 0.25)
            place[..., axis] = 0.75
            assert read(rows, place, weight, [(2, 2, 2)]).item() == 2 * neighbour
        corner = torch.zeros(1, 1, 1, 1, 1, 3)
        assert read(rows + 8, corner, weight, [(2, 2, 2)]).item() == 2 * 8 / 8  # 7 are outside


@pytest.mark.parametrize("normalizer, divisors", [("published", (2, 4, 3)), ("right", (4, 3, 2))])
def test_what_offsets_are_divided_by(normalizer, divisors):
    """The map has 2 steps, 3 rows and 4 columns; an offset of one in x, y and t."""
    attention = MultiScaleDeformableAttention3d(4, 1, 1, 1, normalizer)
    torch.nn.init.ones_(attention.sampling_offsets.bias)
    reference = torch.tensor([0.1, 0.2, 0.3]).view(1, 1, 1, 3)
    table = attention._all_divisors([(2, 3, 4)], reference)
    places, _ = attention._places(torch.zeros(1, 1, 4), reference, table)
    expected = reference.flatten() + 1 / torch.tensor(divisors)
    torch.testing.assert_close(places.flatten(), expected)


def test_an_unknown_normalizer_is_refused():
    with pytest.raises(UserError, match="'wrong'; choose one of"):
        MultiScaleDeformableAttention3d(4, 1, 1, 1, "wrong")


def test_initial_offsets_are_two_circles():
    """Half of the heads look one step ahead for each cell, the other half stay in their step."""
    attention = MultiScaleDeformableAttention3d(32, 8, 2, 3)
    offsets = attention.sampling_offsets.bias.detach().view(8, 2, 3, 3)
    circle = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    ahead = circle + torch.tensor([0.0, 0, 1])
    for point in range(3):
        for level in range(2):
            expected = torch.cat((ahead, circle)) * (point + 1)
            torch.testing.assert_close(offsets[:, level, point], expected, rtol=0, atol=1e-6)
    assert not attention.sampling_offsets.weight.any()


def _inputs(queries, batch=1):
    """Queries, their points, and memory, for attention of 16 channels."""
    cells = sum(math.prod(shape) for shape in SHAPES)
    sizes = (batch, queries, 16), (batch, queries, 4, 3), (batch, cells, 16)
    query, references, memory = (torch.randn(size) for size in sizes)
    return query, references.sigmoid(), memory


@pytest.mark.parametrize("training", [False, True])
def test_chunks_change_nothing(training):
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention3d(16, 2, 4, 3, chunk_size=0)
    torch.nn.init.normal_(attention.sampling_offsets.weight)
    query, references, memory = _inputs(batch=2, queries=11)
    results, gradients = [], []
    for chunk_size in (0, 6):
        attention.chunk_size = chunk_size
        memory = memory.detach().requires_grad_(training)
        output = attention(query, references, memory, SHAPES)
        results.append(output.detach())
        if training:
            output.square().sum().backward()
            gradients += [memory.grad, attention.sampling_offsets.weight.grad.clone()]
            attention.zero_grad()
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradients[:2], gradients[2:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_gpu_reads_larger_chunks():
    """Each level of a chunk is a launch."""
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention3d(16, 2, 4, 3)
    inputs = _inputs(batch=2, queries=9000)
    expected = attention(*inputs, SHAPES)
    with SimulatedGPU() as gpu:
        output = gpu.move(attention)(*(x.to(DEVICE) for x in inputs), SHAPES)
        assert gpu.launches["grid_sampler_3d"] == 2 * 4
    torch.testing.assert_close(output.held, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_queries", [1500, 20_000])
def test_training_keeps_no_more_of_larger_chunks(num_queries):
    kept = []
    for chunk_size in (None, 1024):
        attention = MultiScaleDeformableAttention3d(16, 2, 4, 3, chunk_size=chunk_size).to("meta")
        query, references, memory = (x.to("meta") for x in _inputs(queries=num_queries))
        numbers = []

        def note(x, numbers=numbers):
            numbers.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            attention(query.requires_grad_(), references, memory, SHAPES)
        kept.append(sum(numbers))
    assert kept[0] <= kept[1]


def test_autocast_reads_in_float32():
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention3d(16, 2, 4, 3)
    inputs = _inputs(queries=5)
    expected = attention(*inputs, SHAPES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(*inputs, SHAPES)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)


_LARGE = """
import resource, sys, torch
from tubedet.layers import MultiScaleDeformableAttention3d
shapes = [(16, 32, 43), (8, 16, 22), (4, 16, 22), (4, 8, 11)]
cells = sum(t * h * w for t, h, w in shapes)
attention = MultiScaleDeformableAttention3d(256, 8, 4, 8)
query = torch.randn(1, cells, 256)
references = torch.rand(1, cells, 4, 3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.no_grad():
    attention(query, references, query, shapes)
print(cells, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_memory_of_27_000_tokens():
    """The values of all samples would be 900 MB; input, values, output and chunks are less."""
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0  # in KiB, as on Linux
    done = subprocess.run(
        [sys.executable, "-c", _LARGE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cells, kibibytes = map(int, done.stdout.split())
    assert cells == 26_592
    assert kibibytes < 300 * 1024
