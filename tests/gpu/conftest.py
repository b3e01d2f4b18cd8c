"""Which device the tests of a GPU use, and the precision of what they compare."""

import pytest
import torch
from detectron2.utils import comm
from torch.nn.parallel import DistributedDataParallel

from tubedet.engine.step_trainer import distributed_model
from tubedet.layers import without_tf32

# Without a GPU, "make test" skips them; --gpu-device cpu shows that they do what they should.
SKIPPED = "PyTorch finds no GPU; --gpu-device cpu tries these tests without one"
AMP_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pytest_collection_modifyitems(config, items):
    if config.getoption("--gpu-device") == "cpu" or torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=SKIPPED))


@pytest.fixture(scope="session")
def device(request):
    """Where models run that are compared with those on the CPU."""
    return torch.device(request.config.getoption("--gpu-device"))


@pytest.fixture(params=AMP_DTYPES)
def amp_dtype(request, device):
    """Each precision of autocast; None: without."""
    if device.type == "cpu" and request.param == "float16":
        pytest.skip("float16 needs a GPU")
    return AMP_DTYPES[request.param]


@pytest.fixture(autouse=True)
def as_exact_as_the_cpu():
    with without_tf32():
        yield


@pytest.fixture
def process_group(device, tmp_path, monkeypatch):
    """A group of this process alone, with the GPU's or the CPU's way to talk."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(
        backend, init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    monkeypatch.setattr(comm, "_LOCAL_PROCESS_GROUP", torch.distributed.new_group([0]))
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def exchanging(process_group, monkeypatch):
    """Function: model -> the model as one of several processes has it."""

    def wrapped(model):
        with monkeypatch.context() as context:
            context.setattr(comm, "get_world_size", lambda: 2)
            model = distributed_model(model)
        assert isinstance(model, DistributedDataParallel)
        return model

    return wrapped
