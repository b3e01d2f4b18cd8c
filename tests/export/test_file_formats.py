"""What the writers of files say; tests/tools/test_export_model.py has the files themselves."""

import pytest
import torch

from tubedet.export import FORMATS, ExportError


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
