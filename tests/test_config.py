"""Every key that tubedet adds is explained and read, and each architecture reads its own node."""

import ast
import re
from pathlib import Path

import pytest
import yacs.config
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY

from tubedet.config import add_tubedet_config
from tubedet.engine import load_config

PACKAGE = Path(__file__).parents[1] / "tubedet"
KEY_FILES = (PACKAGE / "config.py", PACKAGE / "architecture_config.py")
NODES = {
    "TubeR": "TUBER",
    "DeformableTubeR": "DEFORMABLE_TUBER",
    "SeqFormer": "SEQFORMER",
    "SparseRCNN": "SPARSE_RCNN",
    "RoIActionDetector": "ROI_ACTION",
    "ClassQueryDetector": "CLASS_QUERY",
    "STMixer": "STMIXER",
}
# Where nothing is matched and no box is predicted.
ACTION_LOSS = {"ACTION_LOSS", "ACTION_LOSS_WEIGHT", "FOCAL_ALPHA", "FOCAL_GAMMA"}
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]


def _keys(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _own_keys():
    cfg = get_cfg()
    theirs = set(_keys(cfg))
    add_tubedet_config(cfg)
    return set(_keys(cfg)) - theirs


def test_the_package_reads_every_key():
    read = {
        node.attr
        for path in PACKAGE.rglob("*.py")
        if path not in KEY_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    keys = _own_keys()
    assert len(keys) > 80
    assert not [key for key in keys if key.rpartition(".")[2] not in read]


def test_a_comment_explains_every_key():
    lines = [line for path in KEY_FILES for line in path.read_text(encoding="utf-8").splitlines()]
    names = {key.rpartition(".")[2] for key in _own_keys()}
    explained = set()
    for before, line in zip(lines, lines[1:]):
        match = re.match(r"\s+(?:cfg[.\w]*|node)\.([A-Z0-9_]+) = (?!CN\(\))", line)
        if match and match[1] in names:
            assert before.lstrip().startswith("# "), f"{line.strip()} has no comment"
            explained.add(match[1])
    assert explained == names


@pytest.mark.parametrize("architecture", NODES)
def test_an_architecture_reads_all_of_its_node_and_none_of_the_others(architecture, monkeypatch):
    cfg = load_config(f"configs/Base-{architecture.removesuffix('Detector')}.yaml", SMALL)
    nodes = {id(getattr(cfg.MODEL, name)): name for name in (*NODES.values(), "CRITERION")}
    read = {name: set() for name in nodes.values()}
    look_up = yacs.config.CfgNode.__getattr__

    def recording(node, key):
        if id(node) in nodes and key in node:
            read[nodes[id(node)]].add(key)
        return look_up(node, key)

    monkeypatch.setattr(yacs.config.CfgNode, "__getattr__", recording)
    META_ARCH_REGISTRY.get(architecture).from_config(cfg)
    own = NODES[architecture]
    for name, keys in read.items():
        expected = set(cfg.MODEL[name]) if name in (own, "CRITERION") else set()
        if (name, architecture) == ("CRITERION", "RoIActionDetector"):
            expected = ACTION_LOSS
        assert keys == expected, name
