"""Copies between host and GPU without a wait.

A copy from or to ordinary host memory stops the host until the GPU has done everything before it.
"""

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; the host goes on while a GPU still works.

    Args:
        tensor: on the host, as a rule; small, because it is copied to pinned memory first.
        device: where it is wanted.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class HostCopy:
    """The values of a tensor for the host, to be read later.

    Reading waits for what the GPU had been given before the copy, not for what it got since.

    Args:
        tensor: on any device.
    """

    def __init__(self, tensor: torch.Tensor):
        self._event: torch.cuda.Event | None = None
        tensor = tensor.detach()
        if tensor.device.type != "cuda":
            self._copy = tensor.cpu()
            return
        self._copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._copy.copy_(tensor, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> torch.Tensor:
        """Return the values, on the host."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy
