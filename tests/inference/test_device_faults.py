import pytest
import torch

from tubedet.errors import UserError
from tubedet.inference.device_faults import (
    BrokenDeviceError,
    device_faults_told_apart,
    is_broken,
)

ASSERTION = torch.AcceleratorError(
    "CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert' in the documentation."
)
FULL = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB."
)


def probe_of(error=None):
    """Of a GPU that answers everything with an error, or works."""

    def probe(device):
        asked.append(device)
        if error is not None:
            raise error

    asked = probe.asked = []
    return probe


@pytest.mark.parametrize(
    "answer, broken",
    [
        (None, False),
        (ASSERTION, True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),
        (FULL, False),
    ],
)
def test_a_device_is_broken_if_it_fails_at_a_small_thing(answer, broken):
    probe = probe_of(answer)
    assert is_broken("cuda:3", probe=probe) is broken
    assert probe.asked == [torch.device("cuda:3")]


def test_a_processor_is_never_broken():
    assert not is_broken("cpu")


def test_the_device_is_named_after_any_error_if_it_is_broken():
    for error in (ASSERTION, RuntimeError("cuDNN error: EXECUTION_FAILED"), KeyError("x"), FULL):
        with pytest.raises(BrokenDeviceError) as raised:
            with device_faults_told_apart("cuda:1", probe=probe_of(ASSERTION)):
                raise error
        assert raised.value.__cause__ is error
        assert str(raised.value).startswith("cuda:1 works no more: ")
        assert "\n" not in str(raised.value)


def test_other_errors_stay_what_they_are():
    probe = probe_of()
    for error in (ValueError("broken file"), RuntimeError("a bug")):
        with pytest.raises(type(error)) as raised:
            with device_faults_told_apart("cuda:1", probe=probe):
                raise error
        assert raised.value is error
    assert len(probe.asked) == 2
    with device_faults_told_apart("cuda:1", probe=probe):
        pass
    with pytest.raises(KeyboardInterrupt):
        with device_faults_told_apart("cuda:1", probe=probe):
            raise KeyboardInterrupt
    assert len(probe.asked) == 2


def test_full_memory_is_said_in_one_line():
    with pytest.raises(UserError) as raised:
        with device_faults_told_apart("cuda:1", probe=probe_of()):
            raise FULL
    assert str(raised.value) == (
        "the memory of cuda:1 is full (CUDA out of memory. Tried to allocate 20.00 GiB); a smaller "
        "--batch-size, --amp or a smaller INPUT.MIN_SIZE_TEST needs less"
    )
