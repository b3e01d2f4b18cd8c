"""The files that a traced detector can be written to, and how each is run again."""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from .clip_program import OUTPUTS
from .export_errors import ExportError, first_line, root_cause

RECORD = "tubedet.json"
# The first one with grid_sample, group norm and layer norm in today's form.
OPSET = 20
# The domain of ONNX's own operators has two names.
_STANDARD = ("", "ai.onnx")
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class FileFormat:
    """A kind of file.

    Attributes:
        suffix: which its name must have.
        tolerance: largest difference to the detector that is rounding.
        write: (program, path, record); the record is stored as json under :data:`RECORD`.
        open: path -> function from the inputs, see :func:`.random_inputs`, to the outputs.
        packages: beyond PyTorch that writing and opening need.
    """

    suffix: str
    tolerance: float
    write: Callable[[ExportedProgram, Path, dict], None]
    open: Callable[[Path], Callable[..., list[torch.Tensor]]]
    packages: tuple[str, ...] = ()

    def check_packages(self) -> None:
        """Raise :class:`ExportError` if one of the packages is not installed."""
        for name in self.packages:
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise ExportError(
                    f"this format needs the package {name}: pip install 'tubedet[export]' ({error})"
                ) from error


def _write_torch_export(program: ExportedProgram, path: Path, record: dict) -> None:
    # By way of memory: on a full disk PyTorch's own writer ends the whole process.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={RECORD: json.dumps(record)})
    path.write_bytes(content.getbuffer())


def _open_torch_export(path: Path) -> Callable[..., list[torch.Tensor]]:
    program = torch.export.load(path)
    module = program.module()
    device = next(iter(program.state_dict.values())).device

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            return list(module(*(x.to(device) for x in inputs)))

    return run


def _write_onnx(program: ExportedProgram, path: Path, record: dict) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hundreds of lines about the exporter's own insides
            exported = torch.onnx.export(
                program,
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever the converter raises is the reason why it gave up
        raise ExportError(
            f"PyTorch {torch.__version__} cannot write the program as ONNX: "
            f"{first_line(root_cause(error))}"
        ) from error
    assert exported is not None  # as it was not asked to write the file
    check_standard_operators(exported.model)
    exported.model.metadata_props[RECORD] = json.dumps(record)
    exported.save(path)


def check_standard_operators(model: Any) -> None:
    """Raise :class:`ExportError` if a graph has an operator that ONNX itself does not define.

    TensorRT, OpenVINO and others than ONNX Runtime read operators of the standard domain alone.

    Args:
        model: of ``onnx_ir``.
    """
    nodes = chain(model.graph.all_nodes(), *(f.all_nodes() for f in model.functions.values()))
    others = {f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _STANDARD}
    if others:
        raise ExportError(f"ONNX does not define the operators {', '.join(sorted(others))}")


def _open_onnx(path: Path) -> Callable[..., list[torch.Tensor]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        arrays = [np.ascontiguousarray(x.numpy()) for x in inputs]
        outputs = session.run(list(OUTPUTS), dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(output) for output in outputs]

    return run


FORMATS = {
    "torch_export": FileFormat(".pt2", 1e-5, _write_torch_export, _open_torch_export),
    "onnx": FileFormat(".onnx", 1e-4, _write_onnx, _open_onnx, ONNX_PACKAGES),
}
