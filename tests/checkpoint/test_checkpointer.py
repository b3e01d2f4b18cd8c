import argparse
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils import comm
from torch import nn

from tubedet.agreement import AgreedError
from tubedet.checkpoint import CheckpointError, TubedetCheckpointer
from tubedet.engine import launch_processes, load_config, load_model

OPTS = ["MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.DEVICE", "cpu"]
OPTS += ["MODEL.TUBER.HIDDEN_DIM", 32, "MODEL.TUBER.FEEDFORWARD_DIM", 64]


def _model(seed=0):
    torch.manual_seed(seed)
    return build_model(load_config("", OPTS))


def _numbers(model):
    return sum(v.numel() for k, v in model.state_dict().items() if "num_batches" not in k)


@pytest.mark.parametrize(
    ("architecture", "prefix"), [("DeformableTubeR", ""), ("SeqFormer", "detr.")]
)
def test_image_and_video_detection_weights_load_by_their_own_names(tmp_path, architecture, prefix):
    opts = [*OPTS, "MODEL.META_ARCHITECTURE", architecture, "INPUT.CLIP.NUM_FRAMES", 8]
    opts += ["MODEL.CSN.OUT_FEATURES", ["res3", "res4", "res5"], "MODEL.SEQFORMER.NUM_STEPS", 1]
    for node in ("DEFORMABLE_TUBER", "SEQFORMER"):
        opts += [f"MODEL.{node}.HIDDEN_DIM", 32, f"MODEL.{node}.FEEDFORWARD_DIM", 64]
    opts += ["MODEL.INIT.MIN_MATCHED", 0.1]
    cfg = load_config("", opts)
    torch.manual_seed(0)
    ours = {
        key: torch.randn_like(value)
        for key, value in build_model(cfg).state_dict().items()
        if key.startswith(("transformer.", "box_heads.", "action_heads.", "input_proj.0."))
    }
    published = {
        prefix
        + key.replace("box_heads", "bbox_embed").replace("action_heads", "class_embed"): value
        for key, value in ours.items()
    }
    published[f"{prefix}transformer.decoder.bbox_embed.0.layers.0.weight"] = torch.zeros(32, 32)
    published[f"{prefix}backbone.0.body.conv1.weight"] = torch.zeros(64, 3, 7, 7)
    published[f"{prefix}query_embed.weight"] = torch.zeros(300, 64)
    path = tmp_path / "published.pth"
    torch.save({"model": published}, path)

    model = build_model(cfg)
    checkpointer = TubedetCheckpointer(model, min_matched=cfg.MODEL.INIT.MIN_MATCHED)
    checkpointer.load(str(path))
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in ours.items())
    report = checkpointer.report
    assert set(report.matched) == set(ours)
    assert not report.unexpected
    assert set(report.ignored) == {
        f"{prefix}backbone.0.body.conv1.weight",
        f"{prefix}transformer.decoder.bbox_embed.0.layers.0.weight",
    }
    assert list(report.mismatched) == ["query_embed.weight"]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_our_own_weights_load_completely(tmp_path, prefix):
    model = _model(0)
    path = str(tmp_path / "ours.pth")
    torch.save({"model": {prefix + k: v for k, v in model.state_dict().items()}}, path)
    other = _model(1)
    checkpointer = TubedetCheckpointer(other)
    checkpointer.load(path)
    assert checkpointer.report.share == 1.0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))


def test_what_did_not_match_is_reported(tmp_path):
    weights = _model(0).state_dict()
    del weights["box_head.layers.2.bias"]
    weights["action_head.fc.weight"] = torch.zeros(22, 32)
    weights["stranger"] = torch.zeros(3)
    path = str(tmp_path / "partly.pth")
    torch.save({"model": weights}, path)
    model = _model(1)
    before = model.action_head.fc.weight.clone()
    checkpointer = TubedetCheckpointer(model)
    checkpointer.load(path)
    report = checkpointer.report
    assert list(report.missing) == ["box_head.layers.2.bias"]
    assert report.mismatched == {"action_head.fc.weight": ((22, 32), (80, 32))}
    assert report.unexpected == ["stranger"]
    assert 0.9 < report.share < 1
    details = report.details()
    for text in ("box_head.layers.2.bias", "[22, 32] in the file, [80, 32] in the model"):
        assert text in details
    assert torch.equal(model.action_head.fc.weight, before)
    head = report.modules()["action_head"]
    assert head["another shape"] == 1 and head["matched"] == 25 and head["missing"] == 0
    assert 0 < head["share of parameters"] < 1
    assert report.modules()["stranger"]["unused"] == 1
    # A classifier of other actions begins anew in a training, whatever the file is.
    assert report.uncounted == {"action_head.fc.weight"}
    assert report.share_of_parameters == pytest.approx(1 - 4 / (_numbers(model) - 80 * 32))


def test_too_little_is_an_error_with_the_config_key(tmp_path):
    path = str(tmp_path / "backbone_only.pth")
    weights = _model(0).state_dict()
    torch.save({"model": {k: v for k, v in weights.items() if k.startswith("backbone")}}, path)
    cfg = load_config("", [*OPTS, "MODEL.WEIGHTS", path])
    with pytest.raises(CheckpointError, match="MODEL.INIT.MIN_MATCHED"):
        load_model(cfg)
    cfg.MODEL.INIT.MIN_MATCHED = 0.0
    load_model(cfg)


def test_share_is_the_smaller_of_tensors_and_elements(tmp_path):
    model = nn.ModuleDict({"big": nn.Linear(1000, 1000, bias=False)})
    model.update({f"small{i}": nn.Linear(1, 1, bias=False) for i in range(9)})
    path = str(tmp_path / "big.pth")
    torch.save({"model": {"big.weight": torch.zeros(1000, 1000)}}, path)
    checkpointer = TubedetCheckpointer(model, min_matched=0)
    checkpointer.load(path)
    assert checkpointer.report.share == pytest.approx(0.1)


def test_weights_come_from_urls_and_are_kept(tmp_path, monkeypatch):
    served = tmp_path / "served"
    served.mkdir()
    model = nn.Linear(3, 3)
    torch.save({"model": model.state_dict()}, served / "weights.pth")
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    handler.log_message = lambda *args: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/weights.pth"
        with pytest.raises(CheckpointError, match=r"cannot be fetched \(MODEL.INIT.TRANSFORMER\)"):
            source = url.replace("weights", "nothing")
            TubedetCheckpointer(model, transformer=source).resume_or_load("", resume=False)
        TubedetCheckpointer(model).load(url)
        server.shutdown()
    other = nn.Linear(3, 3)
    TubedetCheckpointer(other).load(url)  # nobody serves it any more
    assert torch.equal(other.weight, model.weight)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.pth does not exist"):
        TubedetCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "nowhere.pth"))


def test_a_crash_while_saving_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    model = nn.Linear(2, 2)
    checkpointer = TubedetCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000004", iteration=4)
    before = model.weight.clone()

    def crash(data, f):
        f.write(b"half a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", crash)
        nn.init.ones_(model.weight)
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save("model_0000004", iteration=4)
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save("model_0000009", iteration=9)
    resumed = TubedetCheckpointer(model, str(tmp_path)).resume_or_load("", resume=True)
    assert resumed["iteration"] == 4
    assert torch.equal(model.weight, before)


def test_what_is_resumed_must_fit_completely(tmp_path):
    saved = nn.ModuleDict({"big": nn.Linear(40, 40), "queries": nn.Embedding(6, 4)})
    TubedetCheckpointer(saved, str(tmp_path)).save("model_0000004", iteration=4)
    model = nn.ModuleDict({"big": nn.Linear(40, 40), "queries": nn.Embedding(10, 4)})
    checkpointer = TubedetCheckpointer(model, str(tmp_path), min_matched=0.5)
    message = (
        r"model_0000004.pth cannot be resumed .*queries.weight \(\[6, 4\] in the file, \[10, 4"
    )
    with pytest.raises(CheckpointError, match=message):
        checkpointer.resume_or_load("", resume=True)
    checkpointer.resume_or_load(str(tmp_path / "model_0000004.pth"), resume=False)

    more = nn.ModuleDict({"big": nn.Linear(40, 40), "queries": nn.Embedding(6, 4)})
    more["new"] = nn.Linear(1, 1)
    for model, message in (
        (more, "missing in the file: new.weight, new.bias. Use the config of that run"),
        (nn.ModuleDict({"big": nn.Linear(40, 40)}), "unknown to the model: queries.weight. Use"),
    ):
        with pytest.raises(CheckpointError, match=message):
            TubedetCheckpointer(model, str(tmp_path)).resume_or_load("", resume=True)
    assert TubedetCheckpointer(saved, str(tmp_path)).resume_or_load("")["iteration"] == 4


def _save(folder, iteration):
    """The checkpoint of a model whose weights are all the number of the iteration."""
    folder.mkdir(parents=True)
    model = nn.Linear(1, 2)
    nn.init.constant_(model.weight, iteration)
    nn.init.zeros_(model.bias)
    TubedetCheckpointer(model, str(folder), save_to_disk=True).save(
        f"model_{iteration:07}", iteration=iteration
    )


# Files of the two processes; whether they resume; what each must report.
SHARED = "to go on with --resume, OUTPUT_DIR must be a folder that all machines share"
STARTS = {
    "shared": ({"both/": 4}, {"resume": True}, "from 4, weights 4.0"),
    "copied": ({"0/": 4, "1/": 4}, {"resume": True}, "from 4, weights 4.0"),
    "only on the first machine": (
        {"0/": 4},
        {"resume": True},
        f"1/model_0000004.pth is not.*{SHARED}",
    ),
    "others on the second": (
        {"0/": 4, "1/": 9},
        {"resume": True},
        f"1/model_0000004.pth is n.*{SHARED}",
    ),
    "only on the second machine": ({"1/": 9}, {"resume": True}, "anew, weights 0.5"),
    "not wanted": ({"both/": 4}, {"resume": False}, "anew, weights 0.5"),
    "weights": ({"both/w/": 7}, {"weights": "both/w/model_0000007.pth"}, "anew, weights 7.0"),
    "weights of one machine": (
        {"0/w/": 7},
        {"weights": "{rank}/w/model_0000007.pth"},
        r"checkpoint \S+1/w/\S+.pth does not exist \(MODEL.WEIGHTS\) \(process 1 on",
    ),
    "two files": (
        {"0/w/": 7, "1/w/": 7},
        {"weights": "{rank}/w/model_0000007.pth", "damaged": "1/w/model_0000007.pth"},
        r"1/w/\S+.pth is not the same file in all processes \(process 1.*MODEL.WEIGHTS must be the",
    ),
    "backbone of one machine": (
        {"0/w/": 7},
        {"backbone": "{rank}/w/model_0000007.pth"},
        r"1/w/\S+.pth does not exist \(MODEL.INIT.BACKBONE\) \(process 1 on",
    ),
}


def _start_in_process(folder, *, resume=False, weights="", backbone="", damaged=None):
    rank = comm.get_rank()
    is_shared = (folder / "both").exists()
    model = nn.Linear(1, 2)
    nn.init.constant_(model.weight, 0.5)
    weights, backbone = (
        str(folder / name.format(rank=rank)) if name else "" for name in (weights, backbone)
    )
    save_dir = str(folder / ("both" if is_shared else str(rank)))
    checkpointer = TubedetCheckpointer(model, save_dir, backbone=backbone)
    try:
        data = checkpointer.resume_or_load(weights, resume=resume)
    except AgreedError as error:
        return str(error)
    start = f"from {data['iteration']}" if checkpointer.resumed_from else "anew"
    return f"{start}, weights {model.weight[0].item()}"


def _start_all(args):
    found = [
        _start_in_process(args.folder / str(n), **options)
        for n, (_, options, _) in enumerate(STARTS.values())
    ]
    (args.folder / f"found{comm.get_rank()}").write_text("\n".join(found))


def test_all_processes_start_from_the_same_files_or_not_at_all(tmp_path):
    for n, (files, options, _) in enumerate(STARTS.values()):
        (tmp_path / str(n)).mkdir()
        for folder, iteration in files.items():
            _save(tmp_path / str(n) / folder, iteration)
        if "damaged" in options:
            with open(tmp_path / str(n) / options["damaged"], "ab") as f:
                f.write(b"x")
    args = argparse.Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto")
    args.folder = tmp_path
    launch_processes(_start_all, args, "cpu")
    found = [(tmp_path / f"found{rank}").read_text().splitlines() for rank in (0, 1)]
    assert found[0] == found[1]
    for text, (name, (*_, expected)) in zip(found[0], STARTS.items(), strict=True):
        assert re.search(expected, text), (name, text)
