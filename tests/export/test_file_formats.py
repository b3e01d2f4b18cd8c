"""What the writers of files say; tests/tools/test_export_model.py has the files themselves."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tubedet.export import FORMATS, ExportError
from tubedet.export.file_formats import check_standard_operators


def test_what_onnx_cannot_express_is_one_line_with_the_version(tmp_path, monkeypatch):
    def give_up(*args, **kwargs):
        try:
            raise LookupError("No ONNX function found for aten._linalg_svd\nA hint.")
        except LookupError as cause:
            raise RuntimeError("Failed to convert.\nNext steps:\n- Debug the error") from cause

    monkeypatch.setattr(torch.onnx, "export", give_up)
    monkeypatch.setattr(torch, "__version__", "2.10.7")
    with pytest.raises(ExportError) as caught:
        FORMATS["onnx"].write(None, tmp_path / "model.onnx", {})
    assert str(caught.value) == (
        "PyTorch 2.10.7 cannot write the program as ONNX: "
        "LookupError: No ONNX function found for aten._linalg_svd"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_an_error_and_no_end_of_the_process():
    """PyTorch's writer of files aborts it."""
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    with pytest.raises(OSError, match="No space left on device"):
        FORMATS["torch_export"].write(program, Path("/dev/full"), {})


def test_an_operator_that_onnx_does_not_define_is_named():
    """Others than ONNX Runtime have no such operator."""

    def graph(*operators):
        nodes = [SimpleNamespace(domain=domain, op_type=name) for domain, name in operators]
        return SimpleNamespace(all_nodes=lambda: nodes)

    own = graph(("", "Conv"), ("ai.onnx", "Add"))
    check_standard_operators(SimpleNamespace(graph=own, functions={}))
    functions = {"f": graph(("com.microsoft", "QAttention"), ("", "Add"))}
    with pytest.raises(
        ExportError, match=r"does not define the operators com.microsoft.QAttention$"
    ):
        check_standard_operators(SimpleNamespace(graph=own, functions=functions))
