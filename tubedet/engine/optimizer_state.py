"""Whether the saved state of an optimiser fits, and what of it the config decides anew."""

import logging

import torch

from tubedet.checkpoint import CheckpointError
from tubedet.checkpoint.tensor_checks import tensor_fault

logger = logging.getLogger(__name__)

# What decides which parameters train, and in which group.
_KEYS = "MODEL.FREEZE, SOLVER.LR_FACTORS, LAYER_DECAY or WEIGHT_DECAY_NORM, _BIAS or _VIT_VECTORS"


def with_own_settings(optimizer: torch.optim.Optimizer, state: dict) -> dict:
    """Return a saved state with the learning rates, weight decay and groups of an optimiser.

    What was learned of each parameter is kept, whatever group it is in now.

    Args:
        optimizer: as it was built from the config.
        state: as the ``state_dict`` of an optimiser returned it. Where parameters are not the same,
            it is returned as it is, for :func:`check_optimizer_state`.
    """
    own = optimizer.state_dict()["param_groups"]
    saved = state["param_groups"]
    if not all("param_names" in group for group in (*saved, *own)):
        if [len(group["params"]) for group in saved] != [len(group["params"]) for group in own]:
            return state
        groups = [{**group, "params": old["params"]} for group, old in zip(own, saved)]
        return {**state, "param_groups": groups}
    before = {name: index for g in saved for name, index in zip(g["param_names"], g["params"])}
    now = {name: index for g in own for name, index in zip(g["param_names"], g["params"])}
    if before.keys() != now.keys():
        return state
    changed = _settings(saved).items() - _settings(own).items()
    if changed:
        logger.info(
            f"learning rates and weight decay of {len(changed)} parameters are those of the config "
            "from now on, not those of the checkpoint (SOLVER.BASE_LR, LR_FACTORS, LAYER_DECAY, "
            "WEIGHT_DECAY)"
        )
    kept = state["state"]
    moved = {now[name]: kept[index] for name, index in before.items() if index in kept}
    return {**state, "param_groups": own, "state": moved}


def _settings(groups: list[dict]) -> dict[str, tuple[float, float]]:
    """Return the learning rate that the schedule multiplies, and the weight decay, by name."""
    return {
        name: (group.get("initial_lr", group["lr"]), group["weight_decay"])
        for group in groups
        for name in group["param_names"]
    }


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Refuse a state of other parameters, or one that would spoil the weights.

    PyTorch compares their numbers alone, and its fused steps crash on another shape.

    Args:
        optimizer: where the state is to be loaded.
        state: as :func:`with_own_settings` returned it. Where its groups have no "param_names",
            numbers and shapes are compared.

    Raises:
        CheckpointError: if it is of other parameters, or has numbers that are NaN or infinite; the
            message names the first ones.
    """
    saved, own = state["param_groups"], optimizer.param_groups
    if all("param_names" in group for group in (*saved, *own)):
        before, now = (
            {name for g in groups for name in g["param_names"]} for groups in (saved, own)
        )
        for what, names in (
            ("trained, but do not now", before - now),
            ("did not train, but do now", now - before),
        ):
            if names:
                shown = sorted(names)[:3]
                rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
                raise CheckpointError(f"parameters {', '.join(shown)}{rest} {what} ({_KEYS})")
    sizes, own_sizes = ([len(group["params"]) for group in groups] for groups in (saved, own))
    if sizes != own_sizes:
        raise CheckpointError(
            f"groups of {sizes} parameters trained, and groups of {own_sizes} do now ({_KEYS})"
        )
    for saved_group, group in zip(saved, own):
        names = group.get("param_names", saved_group["params"])
        for index, parameter, name in zip(saved_group["params"], group["params"], names):
            for key, kept in state["state"].get(index, {}).items():
                if isinstance(kept, torch.Tensor):
                    _check_tensor(
                        kept, parameter, f"the optimiser's state of parameter {name}", key
                    )


def _check_tensor(kept: torch.Tensor, parameter: torch.Tensor, place: str, key: str) -> None:
    if kept.dim() and kept.shape != parameter.shape:
        raise CheckpointError(
            f"{place} has the shape {list(kept.shape)}, the parameter {list(parameter.shape)}"
        )
    if fault := tensor_fault(kept):
        raise CheckpointError(
            f"{place}, {key}, {fault}; go on from an earlier checkpoint: write its name to "
            "last_checkpoint"
        )
