import torch
from simulated_gpu import DEVICE, SimulatedGPU

from tubedet.layers import HostCopy, to_device


def test_a_copy_to_the_gpu_goes_through_pinned_memory():
    values = torch.arange(6.0).view(2, 3)
    with SimulatedGPU() as gpu:
        there = to_device(values, DEVICE)
        assert there.device == DEVICE and torch.equal(there.held, values)
        assert sum(gpu.synchronisations.values()) == 0
        values.to(DEVICE)  # as it would be from ordinary memory
        assert sum(gpu.synchronisations.values()) == 1
        assert gpu.copies == {"to the GPU": 2}


def test_a_copy_to_the_host_is_waited_for_when_it_is_read():
    with SimulatedGPU() as gpu:
        values = to_device(torch.arange(3.0), DEVICE)
        copy = HostCopy(values * 2)
        assert gpu.copies["to the host"] == 1 and not gpu.synchronisations
        assert copy.read().tolist() == [0, 2, 4]
        assert sum(gpu.synchronisations.values()) == 1


def test_without_a_gpu_both_are_plain():
    values = torch.arange(3.0, requires_grad=True)
    assert to_device(values, torch.device("cpu")) is values
    read = HostCopy(values).read()
    assert read.tolist() == [0, 1, 2] and not read.requires_grad
