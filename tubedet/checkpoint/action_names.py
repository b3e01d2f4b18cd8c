"""Names of the actions that a classifier knows, as checkpoints carry them, and matching them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tubedet.files.pickle_names import brief

# Beside the weights: a list of A names; name k is that of column k, the action with id k + 1.
ACTION_NAMES = "action_names"
# Beside them: the names of the data sets of the training, those of custom ones without the folder.
TRAINED_ON = "trained_on"
# Far above any data set; files come from strangers.
MAX_NAMES = 10_000
MAX_NAME_LENGTH = 500
_SHOWN = 3


def checked_action_names(names: object) -> list[str]:
    """Return names of actions as a list, if they are such.

    Args:
        names: of a file, or of a data set.

    Raises:
        ValueError: if they are not; the message says why.
    """
    if not isinstance(names, (list, tuple)):
        raise ValueError(f"expected a list of names, got a {type(names).__name__}")
    if not 1 <= len(names) <= MAX_NAMES:
        raise ValueError(f"expected 1 to {MAX_NAMES:,} names, got {len(names):,}")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"a name is {brief(name)}, not a text")
        if len(name) > MAX_NAME_LENGTH:
            raise ValueError(f"a name has {len(name):,} characters, more than {MAX_NAME_LENGTH}")
        if any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in name):
            raise ValueError(f"{brief(name)} has characters that are no text")
    return list(names)


def plain_name(name: str) -> str:
    """Return a name as it is compared: without regard to case and spaces.

    Args:
        name: of an action.
    """
    return " ".join(name.casefold().split())


def match_columns(
    theirs: Sequence[str], ours: Sequence[str]
) -> tuple[list[int] | None, list[tuple[str, str]]]:
    """Find the columns of a classifier that belong to actions, by name.

    Args:
        theirs: names of the classifier's columns. "action 3" in the third place stands for an
            action without a name; so in the other list.
        ours: names that are wanted.

    Returns:
        the column of each wanted name, and the pairs (theirs, ours) of different names that are
        taken for one another because as many names are in the same order otherwise. None: neither
        has every wanted name a column, nor are they the same names but for such pairs.
    """
    before, now = [plain_name(n) for n in theirs], [plain_name(n) for n in ours]
    if len(before) == len(now):
        pairs = [
            (k, one, other)
            for k, (one, other) in enumerate(zip(before, now))
            if one != other and f"action {k + 1}" not in (one, other)
        ]
        moved = {one for _, one, _ in pairs} & set(now) or {o for *_, o in pairs} & set(before)
        if not moved:
            return list(range(len(now))), [(theirs[k], ours[k]) for k, *_ in pairs]
    counts = Counter(before)
    if all(counts[name] == 1 for name in now) and len(set(now)) == len(now):
        places = {name: place for place, name in enumerate(before)}
        return [places[name] for name in now], []
    return None, []


def agreeing_places(theirs: Sequence[str], ours: Sequence[str]) -> dict[int, int]:
    """Find the actions that two lists share.

    Args:
        theirs: names of actions; "action 3" in the third place stands for one without a name.
        ours: other names.

    Returns:
        place in ``ours`` -> place in ``theirs`` of every name that both have once.
    """
    before, now = [plain_name(n) for n in theirs], [plain_name(n) for n in ours]
    repeated = {n for names in (before, now) for n, count in Counter(names).items() if count > 1}
    return {
        place: before.index(name)
        for place, name in enumerate(now)
        if name in before and name not in repeated and name != f"action {place + 1}"
    }


def told_apart(theirs: Sequence[str], ours: Sequence[str], ours_from: str) -> str:
    """Say in a few words how two lists of names differ.

    Args:
        theirs: names in a file.
        ours: other names.
        ours_from: where these come from.
    """
    if len(theirs) != len(ours):
        return f"{_shown(theirs)} in the file, {_shown(ours)} in {ours_from}"
    for number, (one, other) in enumerate(zip(theirs, ours), start=1):
        if plain_name(one) != plain_name(other):
            return f"action {number} is {one!r} in the file and {other!r} in {ours_from}"
    return "the same actions"


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(repr(name) for name in names[:_SHOWN])
    noun = "action" if len(names) == 1 else "actions"
    return f"{len(names)} {noun} ({text}{', ...' if len(names) > _SHOWN else ''})"
