"""``OUTPUT_DIR`` of a run: what an earlier training left there, and who writes there now."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from detectron2.utils import comm

from tubedet.agreement import AgreedError, agreed_errors, of_main_process
from tubedet.errors import UserError
from tubedet.files.locks import FileLocks

from .metrics_file import METRICS

logger = logging.getLogger(__name__)

_LOCK_FILE = ".run.lock"
_CHECKPOINT = re.compile(r"last_checkpoint|model_(\d+|final|best)\.pth|model_best\.json")
_EVENTS = "events.out.tfevents."


def results_of_training(folder: str | Path) -> list[Path]:
    """Return the files that another training in a folder would mix with its own, or replace.

    Args:
        folder: of a run; may be missing.

    Returns:
        checkpoints and ``metrics.json``, sorted by name. A run that was refused leaves none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return [
        path
        for path in sorted(folder.iterdir())
        if _CHECKPOINT.fullmatch(path.name) or (path.name == METRICS and path.stat().st_size)
    ]


def check_new_training(
    folder: str | Path, *, overwrite: bool = False, weights: Iterable[str] = ()
) -> None:
    """Refuse a training that begins in the folder of another one.

    Args:
        folder: ``OUTPUT_DIR``.
        overwrite: whether the results of the other one may be removed.
        weights: paths, names or URLs that the training starts from.

    Raises:
        UserError: if there are such results, or the training starts from one that it would remove.
    """
    found = results_of_training(folder)
    if found and not overwrite:
        names = ", ".join(path.name for path in found[:3]) + (", ..." if len(found) > 3 else "")
        raise UserError(
            f"OUTPUT_DIR {folder} has a training already ({names}); add --resume to go on with it, "
            "name another OUTPUT_DIR, or add --overwrite to remove it and start anew"
        )
    for source in weights:
        if any(os.path.exists(source) and path.samefile(source) for path in found):
            raise UserError(
                f"--overwrite would remove {source}, from which the training starts; name another "
                "OUTPUT_DIR"
            )


def check_resumed_training(folder: str | Path) -> None:
    """Refuse to go on where a new training would begin beside the checkpoints of another one.

    Args:
        folder: ``OUTPUT_DIR``.

    Raises:
        UserError: if there are checkpoints, but nothing says which one is the last.
    """
    names = [path.name for path in results_of_training(folder) if path.name != METRICS]
    if names and "last_checkpoint" not in names:
        raise UserError(
            f"--resume: OUTPUT_DIR {folder} has {names[-1]}, but no file last_checkpoint, which "
            "holds the name of the checkpoint to go on from; write it, or name another OUTPUT_DIR"
        )


def files_to_overwrite(folder: str | Path) -> list[Path]:
    """Return what :func:`remove_training` is to remove, with the curves of TensorBoard.

    Args:
        folder: ``OUTPUT_DIR``, before the new training writes there.
    """
    return [*results_of_training(folder), *Path(folder).glob(f"{_EVENTS}*")]


def remove_training(files: Iterable[Path]) -> None:
    """Remove an earlier training; ``metrics.json``, which is open by now, becomes empty.

    Args:
        files: of :func:`files_to_overwrite`.
    """
    for path in files:
        if path.name == METRICS:
            os.truncate(path, 0)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def only_run_in(folder: str | Path) -> Iterator[None]:
    """Refuse a second run in a folder; all processes of a run call it together.

    The main process holds a lock, which ends with that process, however it ends. Where the file
    system has no locks, a warning says so.

    Args:
        folder: ``OUTPUT_DIR``; it is made.

    Raises:
        AgreedError: in all processes, if another run writes there.
    """
    locks, is_free = None, True
    with agreed_errors():
        if comm.is_main_process():
            os.makedirs(folder, exist_ok=True)
            locks = FileLocks(Path(folder, _LOCK_FILE))
            is_free = _is_acquired(locks)
    if not of_main_process(is_free):
        if locks is not None:
            locks.close()
        raise AgreedError(
            f"another run writes to OUTPUT_DIR {folder}; wait for its end, or name another "
            "OUTPUT_DIR"
        )
    with locks or contextlib.nullcontext():
        yield


def _is_acquired(locks: FileLocks) -> bool:
    try:
        return locks.acquire("run")
    except OSError as error:
        logger.warning(f"{locks.path}: a second run in this folder would not be noticed: {error}")
        return True
