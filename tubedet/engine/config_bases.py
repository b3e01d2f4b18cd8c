"""The files that a config is based on: they are on this computer, and end somewhere."""

from __future__ import annotations

import os

import yaml

from tubedet.errors import UserError
from tubedet.files.urls import is_url

_KEY = "_BASE_"
# A released config has 20 kB. Reading takes 300 times as much memory, and 20 s for a megabyte.
_MAX_BYTES = 1 << 18
_MAX_BASES = 100  # of one config, each as often as it is named
# An alias that holds another one twice, thirty times over, is 500 bytes and copied for ever.
_MAX_VALUES = 100_000  # of one file, each as often as it is named


def check_bases(path: str) -> None:
    """Refuse a config that holds no end of values, or whose bases are in the network or itself.

    A config of somebody else should not make this computer ask others for anything. Files that
    are missing or no yaml are left to whoever merges them.

    Args:
        path: the config.

    Raises:
        UserError: if they do; the message names the file.
    """
    waiting: list[tuple[str, ...]] = [(path,)]
    num_bases = 0
    while waiting:
        chain = waiting.pop()
        for base in _bases_of(chain[-1]):
            num_bases += 1
            if os.path.realpath(base) in map(os.path.realpath, chain):
                raise UserError(f"{chain[-1]}: {_KEY} {base}: the file is its own {_KEY}")
            if num_bases > _MAX_BASES:
                raise UserError(f"{path}: based on more than {_MAX_BASES} files")
            waiting.append((*chain, base))


def _bases_of(path: str) -> list[str]:
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise UserError(f"{path}: larger than {_MAX_BYTES:,} bytes: is this the config?")
        content = yaml.safe_load(text.decode("utf-8"))
    except UserError:
        raise
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []  # said by the merge, with its line
    _check_size(path, content)
    bases = content.get(_KEY, []) if isinstance(content, dict) else []
    found = []
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base:
            raise UserError(f"{path}: {_KEY} {base!r}: expected the path of a config")
        if is_url(base):
            raise UserError(
                f"{path}: {_KEY} {base}: a config is based on files of this computer; download it"
            )
        found.append(os.path.join(os.path.dirname(path), os.path.expanduser(base)))
    return found


def _check_size(path: str, content: object) -> None:
    waiting = [content]
    num_values = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list, set)):
            num_values += len(value)
            if num_values > _MAX_VALUES:
                raise UserError(
                    f"{path}: more than {_MAX_VALUES:,} values, those of an alias counted each "
                    "time; write a config without such aliases"
                )
            waiting += value.values() if isinstance(value, dict) else value
