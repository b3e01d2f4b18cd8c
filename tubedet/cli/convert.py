"""Renames the weights of any published checkpoint to tubedet's names, or a TubeR's back.

    python tools/convert_checkpoint.py irCSN_50_ft_kinetics.mat csn50.safetensors
    python tools/convert_checkpoint.py model_final.pth tuber.pth --to tuber-official

The names in the input say whose weights they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save

from tubedet.checkpoint import (
    CheckpointError,
    load_checkpoint_file,
    to_tubedet_names,
    to_tuber_names,
)
from tubedet.checkpoint.action_names import ACTION_NAMES
from tubedet.checkpoint.key_layout import DETECTOR_MODULES
from tubedet.errors import UserError
from tubedet.files.atomic_writing import open_atomically
from tubedet.files.urls import is_url
from tubedet.model_zoo import fetch_url, local_weights

from .arguments import add_overwrite_argument

_OUR_MODULES = tuple(f"{name}." for name in ("backbone.stem", "backbone.res2", *DETECTOR_MODULES))
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
        choices=("tubedet", "tuber-official"),
        default="tubedet",
        help="whose names to write (default: tubedet)",
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


def convert(source: str, names: str) -> tuple[dict[str, torch.Tensor], str, list[str] | None]:
    """Read and rename weights.

    Args:
        source: path or URL.
        names: "tubedet" or "tuber-official".

    Returns:
        tuple: weights by the names asked for; whose names the input has; names of its actions.

    Raises:
        CheckpointError: if the input cannot be read, has names nobody is known to use, or has
            none in the released TubeR.
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
    converted = named.weights
    if names == "tuber-official":
        converted = to_tuber_names(converted)
    return converted, named.layout.name, file.get(ACTION_NAMES)


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
    weights, layout, action_names = convert(options.input, options.to)
    digest = write(weights, options.output, action_names)
    parameters = [v for key, v in weights.items() if key.rsplit(".")[-1] not in _STATISTICS]
    print(f"{options.input}: {layout}")
    print(f"{options.output}: {len(weights)} tensors, sha256 {digest}")
    print(f"parameters: {sum(value.numel() for value in parameters):,}")
    return 0
