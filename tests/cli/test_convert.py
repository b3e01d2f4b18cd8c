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
from small_class_queries import SMALL_CSN, SMALL_VIT, model_of
from small_vits import body, model

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


@pytest.mark.parametrize("options", [SMALL_CSN, SMALL_VIT])
def test_a_class_query_detector_there_and_back_is_bit_equal(options, tmp_path, capsys):
    ours = model_of(*options).state_dict()
    torch.save({"model": ours}, tmp_path / "ours.pth")
    released, back = tmp_path / "released.pth", tmp_path / "back.safetensors"
    assert main([str(tmp_path / "ours.pth"), str(released), "--to", "class-query-official"]) == 0
    assert "q_proj and decoder.cls_norm are zeros" in capsys.readouterr().out
    names = torch.load(released)["model"]
    # Three names of 2 blocks of 8 tensors, two of the 6 of the boxes, 6 that nothing uses.
    assert len(names) == len(ours) + 2 * 16 + 6 + 6
    assert all(name.startswith("module.") for name in names)
    assert main([str(released), str(back)]) == 0
    assert "released class-query names" in capsys.readouterr().out
    found = load_file(back)
    assert found.keys() == ours.keys()
    assert all(torch.equal(found[key], ours[key]) for key in ours)


def test_names_of_actions_are_kept_for_trainings_on_others(tmp_path, capsys):
    torch.save({"model": model_of(*SMALL_VIT).state_dict()}, tmp_path / "in.pth")
    (tmp_path / "map.txt").write_text("1: walk\n3: sit\n", encoding="utf-8")
    arguments = [str(tmp_path / "in.pth"), str(tmp_path / "out.pth"), "--label-map"]
    assert main([*arguments, str(tmp_path / "map.txt")]) == 0
    # Four classes, of which three is the last that is named: it may be that of no object.
    assert torch.load(tmp_path / "out.pth")["action_names"] == ["walk", "action 2", "sit"]
    (tmp_path / "map.txt").write_text("1: walk\n4: sit\n", encoding="utf-8")
    assert main([*arguments, str(tmp_path / "map.txt"), "--overwrite"]) == 0
    expected = ["walk", "action 2", "action 3", "sit"]
    assert torch.load(tmp_path / "out.pth")["action_names"] == expected
    (tmp_path / "map.txt").write_text("1: walk\n5: sit\n", encoding="utf-8")
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "map.txt"), "--overwrite"]) == 2
    assert "action with the id 5, but " in capsys.readouterr().err


@pytest.mark.parametrize("pyramid", [False, True])
def test_the_body_of_a_vit_is_written_as_videomae_has_it(pyramid, tmp_path):
    ours = model(3, pyramid=pyramid).state_dict()
    others = {"box_head.layers.0.bias": torch.ones(2)} if pyramid else {}
    torch.save({"model": {**ours, **others}}, tmp_path / "ours.pth")
    assert main([str(tmp_path / "ours.pth"), str(tmp_path / "v.pth"), "--to", "videomae"]) == 0
    place = "backbone.body." if pyramid else "backbone."
    found = torch.load(tmp_path / "v.pth")["model"]
    expected = {k.removeprefix(place): v for k, v in ours.items() if "lateral_convs" not in k}
    assert found.keys() == expected.keys() and len(found) == 30
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_detector_of_given_boxes_is_written_with_its_classifier(tmp_path):
    head = {"head.weight": torch.randn(80, 16), "head.bias": torch.randn(80)}
    torch.save({"model": {**body(), **head}, "epoch": 29}, tmp_path / "in.pth")
    assert main([str(tmp_path / "in.pth"), str(tmp_path / "ours.pth")]) == 0
    ours = torch.load(tmp_path / "ours.pth")["model"]
    assert torch.equal(ours["action_head.fc.weight"], head["head.weight"])
    assert main([str(tmp_path / "ours.pth"), str(tmp_path / "back.pth"), "--to", "videomae"]) == 0
    back = torch.load(tmp_path / "back.pth")["model"]
    assert back.keys() == {*body(), *head}
    assert all(torch.equal(back[key], value) for key, value in {**body(), **head}.items())


@pytest.mark.parametrize("theirs, wanted", [(2, 1), (1, 2), (2, 2), (1, 4)])
def test_tubelets_become_others_on_demand(theirs, wanted, tmp_path):
    weights = body(tubelet=theirs)
    torch.save({"module": weights}, tmp_path / "in.pth")
    arguments = [str(tmp_path / "in.pth"), str(tmp_path / "out.pth"), "--tubelet", str(wanted)]
    assert main(arguments) == 0
    found = torch.load(tmp_path / "out.pth")["model"]["backbone.patch_embed.proj.weight"]
    kernel = weights["patch_embed.proj.weight"]
    assert found.shape == (16, 3, wanted, 16, 16)
    # A clip that stands still gives the same tokens.
    torch.testing.assert_close(found.sum(2), kernel.sum(2))
    expected = kernel[:, :, 0] if theirs == wanted else kernel.sum(2) / wanted
    torch.testing.assert_close(found[:, :, 0], expected)


def test_what_is_not_there_cannot_be_written(tmp_path, capsys):
    torch.save(body(tubelet=2), tmp_path / "vit.pth")
    csn = published_trunks.random_csn(0, depth=26, width_multiplier=0.125)
    torch.save(published_trunks.mmaction(csn), tmp_path / "csn.pth")
    for source, arguments, reason in (
        ("csn", ["--to", "videomae"], "there is no video ViT in these weights"),
        ("csn", ["--tubelet", "1"], "there is no video ViT whose tubelets could be changed"),
        ("vit", ["--tubelet", "4"], "tubelets of 2 frames cannot become those of 4"),
        ("vit", ["--to", "class-query-official"], "backbone.patch_embed.proj.weight has no name"),
    ):
        assert main([str(tmp_path / f"{source}.pth"), str(tmp_path / "out.pth"), *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line
        assert not (tmp_path / "out.pth").exists()
    with pytest.raises(SystemExit):
        main([str(tmp_path / "vit.pth"), str(tmp_path / "out.pth"), "--tubelet", "0"])
    assert "--tubelet 0: give at least 1" in capsys.readouterr().err
