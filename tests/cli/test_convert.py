"""The conversion tool as a user starts it."""

import functools
import hashlib
import re

import published_trunks
import pytest
import torch
from detectron2.modeling import build_model
from reference_cases import FIXTURES, ReferenceCase
from safetensors.torch import load_file

from tubedet.checkpoint import TubedetCheckpointer, to_tubedet_names
from tubedet.cli.running import run_command
from tubedet.engine import load_config

main = functools.partial(run_command, "convert")

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]
SMALL += ["MODEL.TUBER.HIDDEN_DIM", 32, "MODEL.TUBER.FEEDFORWARD_DIM", 64]
SMALL += ["MODEL.FPN.OUT_CHANNELS", 32, "MODEL.SPARSE_RCNN.DYNAMIC_DIM", 8]
SMALL += ["MODEL.SPARSE_RCNN.FEEDFORWARD_DIM", 64, "MODEL.SPARSE_RCNN.NUM_STAGES", 2]


def test_released_tuber_there_and_back_is_bit_equal(tmp_path, capsys):
    case = ReferenceCase(FIXTURES / "tuber_csn50_ava21")
    weights = {f"module.{key}": value for key, value in case.state_dict().items()}
    torch.save({"model": weights, "epoch": 19}, tmp_path / "released.pth")
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    assert main([str(tmp_path / "released.pth"), str(ours)]) == 0
    printed = capsys.readouterr().out
    assert "released TubeR's names" in printed
    assert hashlib.sha256(ours.read_bytes()).hexdigest() in printed
    assert "parameters: 75,393,959\n" in printed  # with the classifier that it never uses
    content, expected = load_file(ours), to_tubedet_names(weights).weights
    assert content.keys() == expected.keys()
    assert all(torch.equal(content[key], expected[key]) for key in expected)
    assert main([str(ours), str(back), "--to", "tuber-official"]) == 0
    found = torch.load(back)["model"]
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_equal_weights_give_equal_files_that_others_may_read(suffix, tmp_path):
    csn = published_trunks.random_csn(0, depth=26, width_multiplier=0.125)
    torch.save(published_trunks.mmaction(csn), tmp_path / "in.pth")
    outputs = [tmp_path / f"{name}{suffix}" for name in ("one", "another")]
    for output in outputs:
        assert main([str(tmp_path / "in.pth"), str(output)]) == 0
        assert output.stat().st_mode == (tmp_path / "in.pth").stat().st_mode
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["mmaction", "torchvision", "pytorchvideo"])
def test_a_converted_backbone_loads_anywhere(name, tmp_path):
    csn = published_trunks.random_csn(0, depth=26, width_multiplier=0.125)
    torch.save(getattr(published_trunks, name)(csn), tmp_path / "in.pth")
    assert main([str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")]) == 0
    model = build_model(load_config("configs/Base-SparseRCNN.yaml", SMALL))
    checkpointer = TubedetCheckpointer(model, backbone=str(tmp_path / "out.safetensors"))
    checkpointer.resume_or_load("", resume=False)
    assert checkpointer.report.share == 1.0 and not checkpointer.report.ignored
    assert torch.equal(model.backbone.bottom_up.csn.res3[0].conv2.weight, csn.res3[0].conv2.weight)


def test_our_own_tuber_gets_the_official_names(tmp_path):
    model = build_model(load_config("configs/Base-TubeR.yaml", SMALL))
    torch.save({"model": model.state_dict(), "iteration": 7}, tmp_path / "model_final.pth")
    output = tmp_path / "tuber.pth"
    assert main([str(tmp_path / "model_final.pth"), str(output), "--to", "tuber-official"]) == 0
    official = torch.load(output)["model"]
    key = "module.transformer.decoder.layers.1.multihead_attn.out_proj.weight"
    assert torch.equal(
        official[key], model.transformer.decoder.layers[1].cross_attn.out_proj.weight
    )
    other = build_model(load_config("configs/Base-TubeR.yaml", SMALL))
    TubedetCheckpointer(other, min_matched=1.0).load(str(output))


def test_what_cannot_be_converted_ends_with_one_line(tmp_path, capsys):
    sparse = build_model(load_config("configs/Base-SparseRCNN.yaml", SMALL)).state_dict()
    files = {"sparse": sparse, "strange": {"layers.0": torch.zeros(2)}, "empty": {}}
    for name, weights in files.items():
        torch.save({"model": weights}, tmp_path / f"{name}.pth")
    torch.save({"model": {"box_head.layers.0.bias": torch.zeros(2)}}, tmp_path / "good.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK\3\4broken")
    there = tmp_path / "there.pth"
    there.write_bytes(b"precious")
    for source, output, reason in (
        ("sparse", "out", "has no name in the released TubeR"),
        ("strange", "out", "names such as layers.0 are unknown"),
        ("empty", "out", "names such as None are unknown"),
        ("broken", "out", "broken.pth cannot be read"),
        ("nothing", "out", "nothing.pth"),
        ("good", "there", "there.pth exists; --overwrite replaces it"),
    ):
        arguments = [str(tmp_path / f"{source}.pth"), str(tmp_path / f"{output}.pth")]
        if source == "sparse":
            arguments += ["--to", "tuber-official"]
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(f"error: .*{reason}", line), line
        assert not (tmp_path / "out.pth").exists() and there.read_bytes() == b"precious"
    for option in ("--overwrite", "--force"):
        assert main([str(tmp_path / "good.pth"), str(there), option]) == 0
    assert set(torch.load(there)["model"]) == {"box_head.layers.0.bias"}
