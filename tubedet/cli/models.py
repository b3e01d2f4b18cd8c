r"""List released weights by name: what they are for, their figures, sizes, licences and configs.

    tubedet models
    tubedet models TubeR v2.1
    tubedet models --json

Words keep the rows that have all of them. A whole detector goes behind --model of demo, predict,
web, export and train --eval-only; weights for a key start a training of the config beside them.
The size of a file is known where its authors say it, and once it was fetched.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import compress

from tabulate import tabulate

from tubedet.errors import UserError
from tubedet.model_zoo import ReleasedModel, fetched_file, released_models
from tubedet.model_zoo.releases import WEIGHT_KEYS

_KEYS = {part: key for key, part in WEIGHT_KEYS.items()}
_HEADINGS = {
    "model": "Detectors: for --model NAME, or MODEL.WEIGHTS where the config needs changes",
    "backbone": "Backbones that trainings start from: MODEL.INIT.BACKBONE NAME",
    "transformer": "Transformers that trainings start from: MODEL.INIT.TRANSFORMER NAME",
}
_COLUMNS = ("name", "task", "trained on", "published figure", "size", "licence", "config")
# Of the columns; the longest names and configs stay whole, so that they can be copied.
_WIDTHS = [None, 24, 24, 24, None, None, 46]
OPTIONS_ANYWHERE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("words", nargs="*", metavar="WORD", help="of the rows to print")
    parser.add_argument("--json", action="store_true", help="print json, with addresses")


def describe(release: ReleasedModel) -> dict:
    """Say all that is known of released weights.

    Args:
        release: it.

    Returns:
        what ``--json`` prints: the fields of the release, its task, the config key that takes its
        name, the size of the file if it is known, and the file itself if it was fetched.
    """
    file = fetched_file(release)
    return {
        **asdict(release),
        "task": _task(release),
        "key": _KEYS[release.part],
        "num_bytes": release.num_bytes or (file.stat().st_size if file else None),
        "fetched": str(file) if file else None,
    }


def main(options: argparse.Namespace) -> int:
    """Print the list.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status.

    Raises:
        UserError: if no row has the words.
    """
    rows = [row for row in map(describe, released_models()) if _has(row, options.words)]
    if not rows:
        raise UserError(
            f"no released weights have all of: {', '.join(options.words)}; without words, all are "
            "listed"
        )
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    for part, heading in _HEADINGS.items():
        if cells := [_cells(row) for row in rows if row["part"] == part]:
            print(f"{heading}\n\n{_table(cells)}\n")
    print(f"{len(rows)} files of weights; the figures are those of their authors.")
    return 0


def _table(rows: list[tuple[str, ...]]) -> str:
    """Lay the rows out, without a column in which nothing is known."""
    known = [any(row[index] for row in rows) for index in range(len(_COLUMNS))]
    kept = [[*compress(row, known)] for row in rows]
    widths = [*compress(_WIDTHS, known)]
    return tabulate(kept, [*compress(_COLUMNS, known)], maxcolwidths=widths)


def _task(release: ReleasedModel) -> str:
    """Tell what the weights do."""
    if release.part == "backbone":
        return "features of clips"
    if release.part == "transformer":
        return "boxes in images" if release.data == "COCO" else "boxes and actions"
    given = release.published is not None and "of given boxes" in release.published
    return "actions of given boxes" if given else "boxes and actions"


def _has(row: dict, words: list[str]) -> bool:
    text = " ".join(map(str, _cells(row))).lower()
    return all(word.lower() in text for word in words)


def _cells(row: dict) -> tuple[str, ...]:
    """Return the columns of a row of :func:`describe`."""
    config = row["config"] or " ".join(map(str, (row["used_with"] or "", *row["opts"])))
    licence = row["licence"] + (", by hand" if row["by_hand"] else "")
    figure = row["published"] or ""
    return row["name"], row["task"], row["data"], figure, _size(row), licence, config


def _size(row: dict) -> str:
    if row["num_bytes"]:
        return f"{row['num_bytes'] / 2**20:.0f} MiB"
    return f"{row['stated_mib']} MiB" if row["stated_mib"] else ""
