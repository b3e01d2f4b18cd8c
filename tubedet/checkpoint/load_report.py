"""What of a checkpoint found its place in a model, and what did not."""

from dataclasses import dataclass, field

import torch
from tabulate import tabulate
from torch import nn


@dataclass
class LoadReport:
    """Outcome of loading one checkpoint.

    Attributes:
        source: file the weights came from.
        layout: whose key names it uses.
        matched: our keys that were loaded, with their numbers of elements.
        missing: our keys the file lacks, likewise.
        mismatched: our key -> (shape in the file, shape in the model).
        unexpected: keys of the file, by its own names, that fit nothing.
        ignored: keys of the file left out on purpose.
    """

    source: str
    layout: str
    matched: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    mismatched: dict[str, tuple[tuple, tuple]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of the model that was found: by tensors or by elements, the smaller of the two."""
        lost = {**self.missing, **{k: torch.Size(s[1]).numel() for k, s in self.mismatched.items()}}
        elements = sum(self.matched.values())
        return min(
            len(self.matched) / max(len(self.matched) + len(lost), 1),
            elements / max(elements + sum(lost.values()), 1),
        )

    def summary(self) -> str:
        """One line for the log."""
        return (
            f"{self.source} ({self.layout}): {self.share:.1%} of the model found; "
            f"{len(self.matched)} tensors matched, {len(self.missing)} missing, "
            f"{len(self.mismatched)} of another shape, {len(self.unexpected)} unused, "
            f"{len(self.ignored)} ignored on purpose"
        )

    def details(self, limit: int = 20) -> str:
        """A table of everything that did not match, at most ``limit`` rows of each kind."""
        kinds = {
            "missing in the file": [(key, "") for key in self.missing],
            "another shape": [
                (key, f"{list(theirs)} in the file, {list(ours)} in the model")
                for key, (theirs, ours) in self.mismatched.items()
            ],
            "not used": [(key, "") for key in self.unexpected],
            "ignored on purpose": [(key, "") for key in self.ignored],
        }
        rows = []
        for kind, entries in kinds.items():
            rows += [(kind, *entry) for entry in entries[:limit]]
            if len(entries) > limit:
                rows.append((kind, f"... and {len(entries) - limit} more", ""))
        return tabulate(rows, headers=("what", "key", "shapes"), tablefmt="simple")


def is_bookkeeping(key: str) -> bool:
    """Whether a key carries no weight (the update counter of a batch norm)."""
    return key.endswith("num_batches_tracked")


def load_weights(
    model: nn.Module,
    weights: dict[str, torch.Tensor],
    *,
    source: str,
    layout: str,
    names_in_file: dict[str, str] | None = None,
    ignored: list[str] | None = None,
) -> LoadReport:
    """Copy every tensor whose name and shape fit into the model, and report the rest.

    Args:
        model: changed in place.
        weights: by our key names.
        source, layout, ignored: for the report.
        names_in_file: the file's own name of our keys, if different.
    """
    report = LoadReport(source, layout, ignored=list(ignored or []))
    own = model.state_dict()
    fitting = {}
    for key, value in weights.items():
        if key not in own:
            if not is_bookkeeping(key):
                report.unexpected.append((names_in_file or {}).get(key, key))
        elif own[key].shape != value.shape:
            report.mismatched[key] = (tuple(value.shape), tuple(own[key].shape))
        else:
            fitting[key] = value
            if not is_bookkeeping(key):
                report.matched[key] = value.numel()
    for key, value in own.items():
        if key not in weights and not is_bookkeeping(key):
            report.missing[key] = value.numel()
    model.load_state_dict(fitting, strict=False)
    return report
