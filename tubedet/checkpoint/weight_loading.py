"""Bringing weights under our names into a model: where they go, and whether they belong there."""

import re

import torch
from torch import nn

from tubedet.modeling.memory_weights import READER

from .key_layout import NamedWeights
from .load_report import LoadReport
from .released_names import DETR
from .safe_loading import CheckpointError
from .tensor_checks import number_fault
from .trunk_fitting import check_trunk, find_trunk, fit_positions, move_trunk, of_any_trunk
from .trunk_names import UNUSED_CLASSIFIER

# What reads long-term context; it begins anew on weights that know none, and they on it.
_READER = f"{READER}."

# Rows are interchangeable queries: another number of them can be cut out or repeated.
_QUERIES = (
    "query_embed.weight",
    "query_content.weight",
    "init_proposal_features.weight",
    "init_proposal_boxes.weight",
    "stm_head.init_spatial_queries.weight",
    "stm_head.init_temporal_queries.weight",
)
# The first anchors of the class-query detector: those of a query in all frames follow each other.
_ANCHORS = "refpoint_embed.weight"
# Of actions, in modules that otherwise know nothing of them.
_CLASSIFIER = (
    r"^head\..*\.class_logits\.|^transformer\.decoder\.class_queries\."
    r"|^stm_head\..*(_t\.|temporal|action)"
)
_DETR_DECODER = "transformer.decoder.layers.0.cross_attn.in_proj_weight"
_DEFORMABLE_DECODER = "transformer.decoder.layers.0.cross_attn.sampling_offsets.weight"


def load_weights(
    model: nn.Module, named: NamedWeights, *, source: str, part: str = "model"
) -> LoadReport:
    """Copy every tensor whose name and shape fit into the model, and report the rest.

    A backbone goes where the model keeps its CSN or ViT, and a DETR's transformer into the one that
    finds the queries' positions where the main one is deformable.

    DETR's queries and, for the part "transformer", those of every file are cut to the model's
    number or repeated up to it. A DETR of images attends with a 2-D position code of 128 + 128
    channels (rows, columns) and TubeR with a 3-D one of 64 + 96 + 96 (time, rows, columns), so
    such a transformer is a start for training, not a detector that works at once.

    Anchors of the class-query detector for one frame are those of every frame, and those for all
    frames give their middle ones to one frame, whatever the part.

    Args:
        model: changed in place.
        named: changed, too.
        source: file name for messages and the report.
        part: "model"; "backbone": CSN or ViT, with the pyramid on it; "transformer": everything
            else.

    Raises:
        CheckpointError: if the file's backbone is another than the model's, or its
            transformer is of another kind; if a weight is made of whole numbers, or too large for
            the model's precision.
    """
    own = model.state_dict()
    named.leave_out(lambda key: key.startswith(UNUSED_CLASSIFIER))
    named.leave_out(lambda key: key.startswith(_READER) and key not in own)
    has_reader = any(key.startswith(_READER) for key in named.weights)
    trunk = find_trunk(model)
    if part == "transformer":
        named.leave_out(of_any_trunk)
    move_trunk(named, trunk, source)
    if part == "backbone":
        named.leave_out(lambda key: not (trunk.has(key) or of_any_trunk(key)))
        check_trunk(named, own, trunk, source)
        named.leave_out(lambda key: not trunk.has(key))
        expected = {key for key in own if trunk.has(key)}
    elif part == "transformer":
        modules = _fit_transformer(named, own, source)
        expected = {
            key for key in own if key.split(".")[0] in modules and not re.search(_CLASSIFIER, key)
        }
    else:
        _fit_transformer(named, own, source)
        check_trunk(named, own, trunk, source)
        expected = set(own)
    # Of maps that the model does not return.
    named.leave_out(
        lambda key: trunk.has(key) and ".lateral_convs." in f".{key}" and key not in own
    )

    report = LoadReport(
        source, named.layout.name, part, ignored=named.ignored, kept_rows=named.kept_rows
    )
    if resized := fit_positions(named, trunk, source):
        report.resized[f"{trunk.prefix}pos_embed"] = resized
    num_steps = getattr(model, "num_steps", 1)  # of a class-query detector: frames with anchors
    resize = part == "transformer" or named.layout is DETR
    fitting = {}
    for key, value in named.weights.items():
        if key not in own:
            if not is_bookkeeping(key):
                report.unexpected.append(named.names_in_file[key])
            continue
        shapes = (tuple(value.shape), tuple(own[key].shape))
        another_number = shapes[0] != shapes[1] and shapes[0][1:] == shapes[1][1:]
        if another_number and value.numel():
            if key == _ANCHORS:
                value = value[_anchor_rows(shapes[0][0], shapes[1][0], num_steps)]
                report.resized[key] = shapes
            elif resize and key in _QUERIES:
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
            is_new = key in named.begins_anew or trunk.begins_anew(key, named)
            is_new = is_new or (key.startswith(_READER) and not has_reader)
            (report.new if is_new else report.missing)[key] = value.numel()
    report.uncounted = {
        key for key in report.mismatched if key not in expected or key in named.begins_anew
    }
    model.load_state_dict(fitting, strict=False)
    return report


def is_bookkeeping(key: str) -> bool:
    """Whether a key carries no weight (the update counter of a batch norm)."""
    return key.endswith("num_batches_tracked")


def _anchor_rows(num_theirs: int, num_ours: int, num_steps: int) -> torch.Tensor:
    """Return which of a file's anchors start those of the model.

    Args:
        num_theirs: rows of the file, those of a query in its frames one after the other.
        num_ours: likewise of the model.
        num_steps: frames that the model has anchors for.
    """
    num_queries = num_ours // num_steps
    # Evenly spread: in the middle frame of every query, or of the same number of queries each.
    rows = (2 * torch.arange(num_queries) + 1) * num_theirs // (2 * num_queries)
    return rows.repeat_interleave(num_steps)


def _as_own(value: torch.Tensor, own: torch.Tensor, place: str) -> torch.Tensor:
    """Return a weight in the model's precision."""
    if own.is_floating_point() and not value.is_floating_point():
        raise CheckpointError(f"{place} holds whole numbers ({value.dtype}), not weights")
    if value.dtype == own.dtype:
        return value  # its numbers were looked at when the file was read
    value = value.to(own.dtype)
    if fault := number_fault(value):
        raise CheckpointError(f"{place} {fault} in the model's precision, {own.dtype}")
    return value


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
