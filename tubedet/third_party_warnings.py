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
# Loggers, and how their notices begin.
_LOGGED_NOTICES = {
    # On machines with a CUDA toolkit but no GPU, when detectron2 lists versions.
    "torch.utils.cpp_extension": "No CUDA runtime is found",
    # When one of several processes has ended with an error, which is printed then.
    "torch.multiprocessing.spawn": "Terminating process",
    # For every Split of a graph that is exported to ONNX; the file is right without it.
    "onnxscript.optimizer._constant_folding": "Skipping constant folding for op ",
}


def silence_third_party_warnings() -> None:
    """Ignore the notices named in this file, and nothing else, from now on; for commands."""
    for message in _NOTICES:
        warnings.filterwarnings("ignore", message=message)
    for name in _LOGGED_NOTICES:
        logging.getLogger(name).addFilter(_is_no_notice)


@contextlib.contextmanager
def silenced_third_party_warnings() -> Iterator[None]:
    """Ignore the notices within a block; the filters of the host are as before after it."""
    loggers = [logging.getLogger(name) for name in _LOGGED_NOTICES]
    unfiltered = [logger for logger in loggers if _is_no_notice not in logger.filters]
    with warnings.catch_warnings():
        silence_third_party_warnings()
        try:
            yield
        finally:
            for logger in unfiltered:
                logger.removeFilter(_is_no_notice)


def _is_no_notice(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_LOGGED_NOTICES[record.name])
