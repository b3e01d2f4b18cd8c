"""Bringing weights under our names into a model: where they go, and whether they belong there."""

import re

import torch
from torch import nn

from tubedet.modeling.backbone.csn.csn import BLOCKS_PER_STAGE, CSN, STAGES

from .key_layout import NamedWeights
from .load_report import LoadReport
from .released_names import DETR
from .safe_loading import CheckpointError
from .tensor_checks import number_fault
from .trunk_names import UNUSED_CLASSIFIER

_TRUNK = r"^backbone\.(bottom_up\.csn\.)?(?=(stem|res[2-5])\.)"
# Rows are interchangeable queries: another number of them can be cut out or repeated.
_QUERIES = (
    "query_embed.weight",
    "query_content.weight",
    "init_proposal_features.weight",
    "init_proposal_boxes.weight",
)
# Of actions, in a module that otherwise knows nothing of them.
_CLASSIFIER = r"^head\..*\.class_logits\."
_DETR_DECODER = "transformer.decoder.layers.0.cross_attn.in_proj_weight"
_DEFORMABLE_DECODER = "transformer.decoder.layers.0.cross_attn.sampling_offsets.weight"


def load_weights(
    model: nn.Module, named: NamedWeights, *, source: str, part: str = "model"
) -> LoadReport:
    """Copy every tensor whose name and shape fit into the model, and report the rest.

    A backbone goes where the model keeps its CSN, and a DETR's transformer into the one that finds
    the queries' positions where the main one is deformable.

    DETR's queries and, for the part "transformer", those of every file are cut to the model's
    number or repeated up to it. A DETR of images attends with a 2-D position code of 128 + 128
    channels (rows, columns) and TubeR with a 3-D one of 64 + 96 + 96 (time, rows, columns), so
    such a transformer is a start for training, not a detector that works at once.

    Args:
        model: changed in place.
        named: changed, too.
        source: file name for messages and the report.
        part: "model"; "backbone": the CSN alone; "transformer": everything else.

    Raises:
        CheckpointError: if the file's CSN has another depth or width than the model's, or its
            transformer is of another kind; if a weight is made of whole numbers, or too large for
            the model's precision.
    """
    own = model.state_dict()
    named.leave_out(lambda key: key.startswith(UNUSED_CLASSIFIER))
    trunk = _find_trunk(model)
    if trunk:
        named.rename(lambda key: re.sub(_TRUNK, trunk[0], key))
        in_trunk = re.compile(re.escape(trunk[0]) + r"(stem|res\d)\.").match
    else:
        in_trunk = re.compile(_TRUNK).match
    if part == "backbone":
        named.leave_out(lambda key: not in_trunk(key))
        expected = {key for key in own if in_trunk(key)}
    elif part == "transformer":
        named.leave_out(in_trunk)
        modules = _fit_transformer(named, own, source)
        expected = {
            key for key in own if key.split(".")[0] in modules and not re.search(_CLASSIFIER, key)
        }
    else:
        _fit_transformer(named, own, source)
        expected = set(own)
    if trunk:
        _check_trunk(named, own, *trunk, source)

    report = LoadReport(source, named.layout.name, part, ignored=named.ignored)
    resize = part == "transformer" or named.layout is DETR
    fitting = {}
    for key, value in named.weights.items():
        if key not in own:
            if not is_bookkeeping(key):
                report.unexpected.append(named.names_in_file[key])
            continue
        shapes = (tuple(value.shape), tuple(own[key].shape))
        another_number = shapes[0] != shapes[1] and shapes[0][1:] == shapes[1][1:]
        if resize and key in _QUERIES and another_number and value.numel():
            value = value[torch.arange(shapes[1][0]) % shapes[0][0]]
            report.resized[key] = shapes
        if value.shape != own[key].shape:
            report.mismatched[key] = shapes
        else:
            if not is_bookkeeping(key):
                value = _as_own(value, own[key], f"{source}: {named.names_in_file[key]}")
            fitting[key] = value
            if not is_bookkeeping(key):
                report.matched[key] = value.numel()
    for key, value in own.items():
        if key in expected and key not in named.weights and not is_bookkeeping(key):
            report.missing[key] = value.numel()
    report.uncounted = {key for key in report.mismatched if key not in expected}
    model.load_state_dict(fitting, strict=False)
    return report


def is_bookkeeping(key: str) -> bool:
    """Whether a key carries no weight (the update counter of a batch norm)."""
    return key.endswith("num_batches_tracked")


def _as_own(value: torch.Tensor, own: torch.Tensor, place: str) -> torch.Tensor:
    """Return a weight in the model's precision."""
    if own.is_floating_point() and not value.is_floating_point():
        raise CheckpointError(f"{place} holds whole numbers ({value.dtype}), not weights")
    value = value.to(own.dtype)
    if fault := number_fault(value):
        raise CheckpointError(f"{place} {fault} in the model's precision, {own.dtype}")
    return value


def _find_trunk(model: nn.Module) -> tuple[str, CSN] | None:
    for name, module in model.named_modules():
        if isinstance(module, CSN):
            return (f"{name}." if name else ""), module
    return None


def _fit_transformer(named: NamedWeights, own: dict, source: str) -> tuple[str, ...]:
    """Check the kind of the transformer; return our modules that the file should fill."""
    kinds = {_DETR_DECODER: "DETR", _DEFORMABLE_DECODER: "Deformable DETR"}
    theirs = {kind for key, kind in kinds.items() if key in named.weights}
    ours = {kind for key, kind in kinds.items() if key in own}
    if not theirs or not ours or theirs == ours:
        return named.layout.modules
    if theirs == {"DETR"} and any(key.startswith("detr.") for key in own):
        named.rename(lambda key: re.sub(r"^transformer\.", "detr.", key))
        return ("detr", "query_embed")
    raise CheckpointError(
        f"{source} has the transformer of a {theirs.pop()}, the model that of a {ours.pop()} "
        "(MODEL.META_ARCHITECTURE); of such a file only the backbone can be used "
        "(MODEL.INIT.BACKBONE)"
    )


def _check_trunk(named: NamedWeights, own: dict, prefix: str, csn: CSN, source: str) -> None:
    """Stop at a CSN of another depth or width."""
    theirs, ours = _blocks(named.weights, prefix), _blocks(own, prefix)
    if any(theirs[stage] != ours[stage] for stage in theirs.keys() & ours.keys()):
        found = tuple(theirs.get(stage, 0) for stage in STAGES)
        depths = [depth for depth, blocks in BLOCKS_PER_STAGE.items() if blocks == found]
        kind = f"CSN-{depths[0]}" if depths else "CSN of a depth unknown here"
        raise CheckpointError(
            f"{source} holds a {kind} (blocks per stage {found}), but MODEL.CSN.DEPTH is "
            f"{csn.depth}"
        )
    for key, layer in (("stem.norm.weight", "stem"), ("res2.0.norm1.weight", "bottlenecks")):
        key = prefix + key
        if key in named.weights and key in own and named.weights[key].shape != own[key].shape:
            raise CheckpointError(
                f"{source} holds a CSN with {named.weights[key].numel()} channels in its {layer}, "
                f"but the model's has {own[key].numel()} (MODEL.CSN.WIDTH_MULTIPLIER)"
            )


def _blocks(keys, prefix: str) -> dict[str, int]:
    """Blocks of each stage that the keys have."""
    blocks: dict[str, int] = {}
    for key in keys:
        match = re.match(re.escape(prefix) + r"(res\d)\.(\d+)\.", key)
        if match:
            blocks[match[1]] = max(blocks.get(match[1], 0), int(match[2]) + 1)
    return blocks
