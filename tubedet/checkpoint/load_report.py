"""What of a checkpoint found its place in a model, and what did not."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import prod

from tabulate import tabulate

_KINDS = ("matched", "another shape", "missing", "new", "unused", "ignored")


@dataclass
class LoadReport:
    """Outcome of loading one checkpoint.

    Attributes:
        source: file the weights came from.
        layout: whose key names it uses.
        part: what of the model it is meant for: "model", "backbone" or "transformer".
        matched: our keys that were loaded, with their numbers of elements.
        missing: our keys of that part that the file lacks, likewise.
        new: our keys that such a file lacks by design, likewise; they do not lower the share.
        mismatched: our key -> (shape in the file, shape in the model).
        uncounted: of these, the keys that do not lower the share because they begin anew by design,
            such as classifiers of another label set in a training.
        resized: likewise, of queries and position tables that were cut, repeated or interpolated;
            they are matched, too.
        kept_rows: our keys of class queries -> (actions whose rows the file had by name, actions of
            the model); the other rows begin anew.
        unexpected: keys of the file, by its own names, that fit nothing.
        ignored: keys of the file left out on purpose.
    """

    source: str
    layout: str
    part: str = "model"
    matched: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)
    mismatched: dict[str, tuple[tuple, tuple]] = field(default_factory=dict)
    uncounted: set[str] = field(default_factory=set)
    resized: dict[str, tuple[tuple, tuple]] = field(default_factory=dict)
    kept_rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def share_of_tensors(self) -> float:
        """Share of the part's tensors that were found."""
        found = len(self.matched)
        return found / max(found + len(self._lost()), 1)

    @property
    def share_of_parameters(self) -> float:
        """Share of the part's numbers (parameters and batch-norm statistics) that were found."""
        found = sum(self.matched.values())
        return found / max(found + sum(self._lost().values()), 1)

    def _lost(self) -> dict[str, int]:
        return self.missing | {
            key: prod(ours)
            for key, (_, ours) in self.mismatched.items()
            if key not in self.uncounted
        }

    @property
    def share(self) -> float:
        """Share of the part that was found: by tensors or by numbers, the smaller of the two."""
        return min(self.share_of_tensors, self.share_of_parameters)

    def summary(self) -> str:
        """One line for the log."""
        resized = f" ({len(self.resized)} cut or repeated)" if self.resized else ""
        new = f"{len(self.new)} new by design, " if self.new else ""
        rows = "".join(f"; {_kept(*kept)}" for kept in self.kept_rows.values())
        return (
            f"{self.source} ({self.layout}): {self.share:.1%} of the {self.part} found; "
            f"{len(self.matched)} tensors matched{resized}, {len(self.missing)} missing, {new}"
            f"{len(self.mismatched)} of another shape, {len(self.unexpected)} unused, "
            f"{len(self.ignored)} not used by design{rows}"
        )

    def differences(self, limit: int = 3) -> str:
        """Name what did not match in one line, ``limit`` keys of each kind; empty if all did."""
        kinds = {
            "of another shape": [
                f"{key} ({list(theirs)} in the file, {list(ours)} in the model)"
                for key, (theirs, ours) in self.mismatched.items()
            ],
            "missing in the file": list(self.missing),
            "unknown to the model": self.unexpected,
        }
        return "; ".join(
            f"{kind}: {', '.join(keys[:limit])}"
            + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
            for kind, keys in kinds.items()
            if keys
        )

    def modules(self) -> dict[str, dict]:
        """Numbers of tensors by top-level module and outcome, and the module's share.

        Returns:
            {module: {"matched": n, "another shape": n, "missing": n, "new": n, "unused": n,
            "ignored": n, "share of parameters": 0 .. 1, or None for modules of which the file
            should have nothing}}.
        """
        counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_KINDS, 0))
        found: dict[str, int] = defaultdict(int)
        expected: dict[str, int] = defaultdict(int)
        sizes = {
            "matched": self.matched,
            "another shape": {key: prod(ours) for key, (_, ours) in self.mismatched.items()},
            "missing": self.missing,
            "new": self.new,
            "unused": dict.fromkeys(self.unexpected, 0),
            "ignored": dict.fromkeys(self.ignored, 0),
        }
        for kind, keys in sizes.items():
            for key, size in keys.items():
                module = key.split(".")[0]
                counts[module][kind] += 1
                expected[module] += 0 if kind == "new" else size
                found[module] += size if kind == "matched" else 0
        return {
            module: {
                **count,
                "share of parameters": found[module] / expected[module]
                if expected[module]
                else None,
            }
            for module, count in counts.items()
        }

    def details(self, limit: int = 20) -> str:
        """Lay out the modules, and what did not match with ``limit`` rows of each kind."""
        modules = [
            (
                module,
                *(row[kind] for kind in _KINDS),
                "" if row["share of parameters"] is None else f"{row['share of parameters']:.1%}",
            )
            for module, row in self.modules().items()
        ]
        kinds = {
            "missing in the file": [(key, "") for key in self.missing],
            "new by design": [
                *((key, "") for key in self.new),
                *(pair for pair in self._shapes(self.mismatched) if pair[0] in self.uncounted),
            ],
            "another shape": [
                pair for pair in self._shapes(self.mismatched) if pair[0] not in self.uncounted
            ],
            "cut or repeated": self._shapes(self.resized),
            "rows by name": [(key, _kept(*kept)) for key, kept in self.kept_rows.items()],
            "not used": [(key, "") for key in self.unexpected],
            "not used by design": [(key, "") for key in self.ignored],
        }
        rows = []
        for kind, entries in kinds.items():
            rows += [(kind, *entry) for entry in entries[:limit]]
            if len(entries) > limit:
                rows.append((kind, f"... and {len(entries) - limit} more", ""))
        return (
            tabulate(modules, headers=("module", *_KINDS, "share"), tablefmt="simple")
            + "\n\n"
            + tabulate(rows, headers=("what", "key", "shapes"), tablefmt="simple")
        )

    @staticmethod
    def _shapes(entries: dict[str, tuple[tuple, tuple]]) -> list[tuple[str, str]]:
        return [
            (key, f"{list(theirs)} in the file, {list(ours)} in the model")
            for key, (theirs, ours) in entries.items()
        ]

    def to_json(self) -> dict:
        """Everything, in what json can hold."""
        shapes = {
            name: {key: {"file": list(f), "model": list(m)} for key, (f, m) in entries.items()}
            for name, entries in (("another_shape", self.mismatched), ("resized", self.resized))
        }
        return {
            "source": self.source,
            "layout": self.layout,
            "part": self.part,
            "share": self.share,
            "share_of_tensors": self.share_of_tensors,
            "share_of_parameters": self.share_of_parameters,
            "modules": self.modules(),
            "matched": list(self.matched),
            "missing": list(self.missing),
            "new": list(self.new),
            **shapes,
            "kept_rows": {key: list(kept) for key, kept in self.kept_rows.items()},
            "unused": self.unexpected,
            "ignored": self.ignored,
        }


def _kept(kept: int, rows: int) -> str:
    return f"{kept} of {rows} actions found by name, the others begin anew"
