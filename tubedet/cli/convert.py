"""Renames the weights of any published checkpoint to tubedet's names, or back to the released ones.

    python tools/convert_checkpoint.py irCSN_50_ft_kinetics.mat csn50.safetensors
    python tools/convert_checkpoint.py model_final.pth tuber.pth --to tuber-official
    python tools/convert_checkpoint.py vit_b_k710.pth vit_b.safetensors --tubelet 1

The names in the input say whose weights they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from tubedet.checkpoint import (
    CheckpointError,
    load_checkpoint_file,
    to_class_query_names,
    to_tubedet_names,
    to_tuber_names,
    to_videomae_names,
)
from tubedet.checkpoint.action_names import ACTION_NAMES, checked_action_names
from tubedet.checkpoint.classifier_rows import count_rows
from tubedet.checkpoint.key_layout import DETECTOR_MODULES
from tubedet.checkpoint.vit_names import with_tubelet
from tubedet.data.annotations.ava_csv import read_label_map
from tubedet.errors import UserError
from tubedet.files.atomic_writing import open_atomically
from tubedet.files.urls import is_url
from tubedet.model_zoo import fetch_url, local_weights

from .arguments import add_overwrite_argument

_BACKBONES = ("stem", "res2", "patch_embed", "body.patch_embed")
_OUR_MODULES = tuple(f"{n}." for n in (*(f"backbone.{b}" for b in _BACKBONES), *DETECTOR_MODULES))
_WRITERS: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]] = {
    "tubedet": dict,
    "tuber-official": to_tuber_names,
    "class-query-official": to_class_query_names,
    "videomae": to_videomae_names,
}
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("input", help="path or URL: .pth, .safetensors, .mat or .pkl")
    parser.add_argument("output", type=Path, help="file to write: .pth or .safetensors")
    parser.add_argument(
        "--to",
        choices=tuple(_WRITERS),
        default="tubedet",
        help="whose names to write (default: tubedet); videomae: the body of a video ViT alone",
    )
    parser.add_argument(
        "--tubelet",
        type=int,
        metavar="FRAMES",
        help="frames of a ViT's patches: their kernel is summed, or repeated and divided",
    )
    parser.add_argument(
        "--label-map",
        metavar="FILE",
        help="names of the actions, kept in the output, so that they can be matched by name",
    )
    add_overwrite_argument(parser, help="replace an existing output")


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    if options.output.suffix not in (".pth", ".safetensors"):
        raise UserError(f"{options.output}: the output ends with .pth or .safetensors")
    if options.tubelet is not None and options.tubelet < 1:
        raise UserError(f"--tubelet {options.tubelet}: give at least 1")


def convert(
    source: str, names: str, *, tubelet: int | None = None, label_map: str | None = None
) -> tuple[dict[str, torch.Tensor], str, list[str] | None]:
    """Read and rename weights.

    Args:
        source: path or URL.
        names: whose names to write, as ``--to``.
        tubelet: frames of the patches of a video ViT; None: as they are.
        label_map: file with names of the actions, for a file without any or with others.

    Returns:
        tuple: weights by the names asked for; whose names the input has; names of its actions.

    Raises:
        CheckpointError: if the input cannot be read, has names nobody is known to use, has none
            among those asked for, or has no patches that become those of ``tubelet``.
        UserError: if the label map cannot be read, or has more actions than the weights.
        OSError: if there is no such file.
    """
    path = local_weights(source, "input")
    try:
        path = fetch_url(path, key="input") if is_url(path) else path
    except OSError as error:
        raise CheckpointError(f"{source} cannot be fetched: {error}") from error
    file = load_checkpoint_file(path)
    weights = file["model"]
    named = to_tubedet_names(weights)
    if not any(key.startswith(_OUR_MODULES) for key in named.weights):
        raise CheckpointError(f"{source}: names such as {next(iter(weights), None)} are unknown")
    actions = file.get(ACTION_NAMES)
    if label_map is not None:
        actions = _names_of_rows(named.weights, label_map, source)
    try:
        converted = named.weights if tubelet is None else with_tubelet(named.weights, tubelet)
        return _WRITERS[names](converted), named.layout.name, actions
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error


def _names_of_rows(weights: dict[str, torch.Tensor], label_map: str, source: str) -> list[str]:
    """Name every row of a classifier; "action 3" is an action without a name."""
    names, num_rows = read_label_map(label_map), count_rows(weights)
    if max(names) > num_rows:
        raise UserError(
            f"--label-map {label_map} has an action with the id {max(names)}, but {source} has a "
            f"classifier of {num_rows} actions"
        )
    # The last row of exclusive actions is "no object".
    num_actions = max(names) if max(names) == num_rows - 1 else num_rows
    numbers = range(1, num_actions + 1)
    return checked_action_names([names.get(number, f"action {number}") for number in numbers])


def write(
    weights: dict[str, torch.Tensor], output: Path, action_names: list[str] | None = None
) -> str:
    """Write a whole file or none.

    Args:
        weights: tensors by name.
        output: file ending with .pth or .safetensors.
        action_names: to be kept in the file.

    Returns:
        str: sha256 of the file.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    # Tensors that share memory would be refused, and views would drag along what they view.
    weights = {key: value.clone().contiguous() for key, value in weights.items()}
    # Given a path, torch.save would note the temporary name in the file, and safetensors would give
    # it the permissions of a private one.
    with open_atomically(output, "wb") as stream:
        if output.suffix == ".safetensors":
            stream.write(_safetensors(weights, action_names))
        else:
            names = {} if action_names is None else {ACTION_NAMES: action_names}
            torch.save({"model": weights, **names}, stream)
    digest = hashlib.sha256()
    with open(output, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _safetensors(weights: dict[str, torch.Tensor], action_names: list[str] | None) -> bytes:
    """Return a file, the same for the same weights and names."""
    metadata = {"format": "pt"}
    content = save(weights, metadata=metadata)
    if action_names is None:
        return content
    # Written by safetensors, several metadata come in any order: they are put in afterwards.
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = {ACTION_NAMES: json.dumps(action_names), **metadata}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def main(options: argparse.Namespace) -> int:
    """Convert a file and print what became of it.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 2 on an input that cannot be converted.
    """
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists; --overwrite replaces it")
    weights, layout, action_names = convert(
        options.input, options.to, tubelet=options.tubelet, label_map=options.label_map
    )
    digest = write(weights, options.output, action_names)
    parameters = [v for key, v in weights.items() if key.rsplit(".")[-1] not in _STATISTICS]
    print(f"{options.input}: {layout}")
    print(f"{options.output}: {len(weights)} tensors, sha256 {digest}")
    print(f"parameters: {sum(value.numel() for value in parameters):,}")
    if options.to == "class-query-official":
        print(
            "q_proj and decoder.cls_norm are zeros: the released code has them and never uses them"
        )
    return 0
