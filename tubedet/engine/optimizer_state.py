"""Whether the saved state of an optimiser is one of the parameters that train now."""

import itertools

import torch

from tubedet.checkpoint import CheckpointError

# What decides which parameters train, and in which group.
_KEYS = "MODEL.FREEZE, SOLVER.LR_FACTORS, SOLVER.WEIGHT_DECAY_NORM or SOLVER.WEIGHT_DECAY_BIAS"


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Refuse a state of other parameters.

    PyTorch compares their numbers alone, and its fused steps crash on another shape.

    Args:
        optimizer: where the state is to be loaded.
        state: as the ``state_dict`` of an optimiser returned it. Where its groups have no
            "param_names", numbers and shapes are compared.

    Raises:
        CheckpointError: if it is of other parameters, or groups them in another way; the message
            names them.
    """
    saved, own = state["param_groups"], optimizer.param_groups
    if all("param_names" in group for group in (*saved, *own)):
        _check_names([g["param_names"] for g in saved], [g["param_names"] for g in own])
    sizes, own_sizes = ([len(group["params"]) for group in groups] for groups in (saved, own))
    if sizes != own_sizes:
        raise CheckpointError(
            f"groups of {sizes} parameters trained, and groups of {own_sizes} do now ({_KEYS})"
        )
    for saved_group, group in zip(saved, own):
        names = group.get("param_names", saved_group["params"])
        for index, parameter, name in zip(saved_group["params"], group["params"], names):
            for kept in state["state"].get(index, {}).values():
                is_scalar = not isinstance(kept, torch.Tensor) or kept.dim() == 0
                if not is_scalar and kept.shape != parameter.shape:
                    raise CheckpointError(
                        f"the optimiser's state of parameter {name} has the shape "
                        f"{list(kept.shape)}, the parameter {list(parameter.shape)}"
                    )


def _check_names(saved: list[list[str]], own: list[list[str]]) -> None:
    before, now = set(itertools.chain(*saved)), set(itertools.chain(*own))
    for what, names in (
        ("trained, but do not now", before - now),
        ("did not train, but do now", now - before),
        ("are in another group of the optimiser", _moved(saved, own)),
    ):
        if names:
            shown = sorted(names)[:3]
            rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
            raise CheckpointError(f"parameters {', '.join(shown)}{rest} {what} ({_KEYS})")


def _moved(saved: list[list[str]], own: list[list[str]]) -> set[str]:
    """Return the names with another group, or another place in it."""
    before, now = (
        {
            name: (group, place)
            for group, names in enumerate(groups)
            for place, name in enumerate(names)
        }
        for groups in (saved, own)
    )
    return {name for name in now.keys() & before.keys() if now[name] != before[name]}
