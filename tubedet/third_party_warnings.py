"""Keep known, harmless notices of other packages off the console; each is named here."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

_NOTICES = (
    # detectron2 and fvcore decorate functions with it when they are imported.
    r"`torch\.jit\.script` is deprecated",
    r"`torch\.jit\.script_method` is deprecated",
    # detectron2 looks up its model zoo with it.
    r"pkg_resources is deprecated as an API",
    # detectron2 passes it to DistributedDataParallel.
    r"`broadcast_buffers` is deprecated",
    # 1x1x1 kernels on CPUs; costs one copy of a small gradient.
    r"Grad strides do not match bucket view strides",
)
# PyTorch says so on machines with a CUDA toolkit but no GPU, when detectron2 lists versions.
_NO_GPU = "No CUDA runtime is found"
_LOGGER = logging.getLogger("torch.utils.cpp_extension")


def silence_third_party_warnings() -> None:
    """Ignore the notices named in this file, and nothing else, from now on; for commands."""
    for message in _NOTICES:
        warnings.filterwarnings("ignore", message=message)
    _LOGGER.addFilter(_tells_more_than_no_gpu)


@contextlib.contextmanager
def silenced_third_party_warnings() -> Iterator[None]:
    """Ignore the notices within a block; the filters of the host are as before after it."""
    had_filter = _tells_more_than_no_gpu in _LOGGER.filters
    with warnings.catch_warnings():
        silence_third_party_warnings()
        try:
            yield
        finally:
            if not had_filter:
                _LOGGER.removeFilter(_tells_more_than_no_gpu)


def _tells_more_than_no_gpu(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_NO_GPU)
