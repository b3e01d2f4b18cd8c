"""What to say about keys and values that a config does not take."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from detectron2.config import CfgNode

_MISMATCH = re.compile(
    r"Type mismatch \(<class '(?P<expected>[\w.]+)'> vs. <class '[\w.]+'>\) with values "
    r"\((?P<own>.*) vs. (?P<given>.*)\) for config key: (?P<key>\S+)",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?[\d.]+")
_UNKNOWN = re.compile(r"Non-existent (?:config )?key: (?P<key>\S+)")


def is_known_key(cfg: CfgNode, key: str) -> bool:
    """Whether a config has a key or a section.

    Args:
        cfg: the config.
        key: such as "SOLVER.BASE_LR".
    """
    node = cfg
    for name in key.split("."):
        if not isinstance(node, CfgNode) or name not in node:
            return False
        node = node[name]
    return True


def unknown_key_message(cfg: CfgNode, key: str) -> str:
    """Return what to say about a key that a config does not have.

    Args:
        cfg: the config.
        key: as the user gave it.
    """
    if key.startswith("-"):
        return f"there is no key {key}; options stand before KEY VALUE, and keys have no dashes"
    wanted = key.upper()
    known = list(_all_keys(cfg))
    last = wanted.rpartition(".")[2]
    same_name = [name for name in known if name.rpartition(".")[2] == last]
    close = difflib.get_close_matches(wanted, same_name, n=3, cutoff=0.0)
    close = close or difflib.get_close_matches(wanted, known, n=1)
    advice = f"; did you mean {' or '.join(close)}?" if close else "; see docs/training.md"
    return f"there is no key {key}{advice}"


def fault_message(cfg: CfgNode, fault: str) -> str:
    """Return a message of yacs in words that say what to do; others as they are.

    Args:
        cfg: the config that was to be changed.
        fault: what yacs says.
    """
    if found := _UNKNOWN.search(fault):
        return unknown_key_message(cfg, found["key"])
    if found := _MISMATCH.search(fault):
        if found["expected"].endswith("CfgNode"):
            return f"{found['key']} is a section of keys; give a value to one of them"
        if found["expected"] == "tuple":
            given = found["given"]
            value = given if _NUMBER.fullmatch(given) else f'"{given}"'
            return (
                f"{given} is no tuple for config key: {found['key']}; one value alone needs a "
                f"comma: ({value},)"
            )
        return (
            f"{found['given']} is no {found['expected']} for config key: {found['key']}; "
            f"a possible value is {found['own'] or repr('')}"
        )
    return " ".join(fault.split())


def _all_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{prefix}{name}.")
