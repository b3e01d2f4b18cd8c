"""Classifiers of actions in another order, under other names, or of other actions."""

import logging

import pytest
import torch
from detectron2.modeling import build_model
from small_class_queries import NODE, SMALL_VIT, model_of

from tubedet.checkpoint import CheckpointError, TubedetCheckpointer
from tubedet.engine import load_config

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]
SMALL += ["MODEL.NUM_ACTIONS", 3, "INPUT.CLIP.NUM_FRAMES", 8, "MODEL.FPN.OUT_CHANNELS", 32]
for _node in ("TUBER", "DEFORMABLE_TUBER", "SEQFORMER"):
    SMALL += [f"MODEL.{_node}.HIDDEN_DIM", 32, f"MODEL.{_node}.FEEDFORWARD_DIM", 64]
    SMALL += [f"MODEL.{_node}.ENC_LAYERS", 1, f"MODEL.{_node}.DEC_LAYERS", 2]
SMALL += ["MODEL.SPARSE_RCNN.NUM_PROPOSALS", 6, "MODEL.SPARSE_RCNN.NUM_STAGES", 2]
SMALL += ["MODEL.SPARSE_RCNN.FEEDFORWARD_DIM", 64, "MODEL.SPARSE_RCNN.DYNAMIC_DIM", 8]
SMALL += [
    "MODEL.STMIXER.NUM_QUERIES",
    6,
    "MODEL.STMIXER.NUM_STAGES",
    2,
    "MODEL.STMIXER.NUM_STEPS",
    1,
]
SMALL += ["MODEL.STMIXER.FEEDFORWARD_DIM", 64, "MODEL.STMIXER.NUM_POINTS", 4]
# The classifiers of each architecture.
CLASSIFIERS = {
    "TubeR": ["action_head.fc"],
    "DeformableTubeR": ["action_heads.0", "action_heads.1"],
    "SeqFormer": ["action_heads.0", "action_heads.1"],
    "SparseRCNN": ["head.head_series.0.class_logits", "head.head_series.1.class_logits"],
    "RoIActionDetector": ["action_head.fc"],
    "STMixer": ["stm_head.decoder_stages.0.fc_action", "stm_head.decoder_stages.1.fc_action"],
}
NAMES = ["walk", "wave", "sit"]


@pytest.fixture(autouse=True)
def said(caplog, monkeypatch):
    """What the log says."""
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def _model(architecture="TubeR", seed=0, opts=()):
    """All weights of a module differ, also those that begin with the same value."""
    torch.manual_seed(seed)
    name = architecture.removesuffix("Detector")
    model = build_model(load_config(f"configs/Base-{name}.yaml", [*SMALL, *opts]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def _save(folder, model, names=NAMES, name="model_0000001"):
    TubedetCheckpointer(model, str(folder), action_names=names).save(name, iteration=1)
    return str(folder / f"{name}.pth")


def _load(path, model, names, **options):
    checkpointer = TubedetCheckpointer(model, action_names=names, min_matched=0.5, **options)
    checkpointer.load(path)
    return checkpointer


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_class_order_differs_rows_are_matched_by_name(tmp_path, said, architecture, exclusive):
    opts = ["MODEL.EXCLUSIVE_ACTIONS", exclusive]
    saved, model = _model(architecture, 0, opts), _model(architecture, 1, opts)
    _load(_save(tmp_path, saved), model, ["sit", "walk", "wave"], for_training=False)
    rows = [2, 0, 1]
    if exclusive and architecture != "RoIActionDetector":  # whose boxes are given
        rows.append(3)  # "no object" stays the last
    before, after = saved.state_dict(), model.state_dict()
    keys = {f"{name}.{kind}" for name in CLASSIFIERS[architecture] for kind in ("weight", "bias")}
    assert keys <= before.keys()
    for key, value in before.items():
        assert torch.equal(after[key], value[rows] if key in keys else value), key
    (line,) = [m for m in said.messages if "by name" in m]
    assert line.endswith(
        "model_0000001.pth: action 1 is 'walk' in the file and 'sit' in the data set; rows of the "
        "classifier are matched by name"
    )


@pytest.mark.parametrize("exclusive", [False, True])
def test_rows_before_the_first_action_stay_before_it(tmp_path, said, exclusive):
    opts = ["MODEL.ROI_ACTION.FIRST_COLUMN", 1, "MODEL.EXCLUSIVE_ACTIONS", exclusive]
    saved, model = (_model("RoIActionDetector", seed, opts) for seed in (0, 1))
    path = _save(tmp_path, saved)
    _load(path, model, ["sit", "walk", "wave"], for_training=False)
    assert torch.equal(model.action_head.fc.weight, saved.action_head.fc.weight[[0, 3, 1, 2]])
    assert torch.equal(model.action_head.fc.bias, saved.action_head.fc.bias[[0, 3, 1, 2]])
    some = _model("RoIActionDetector", 1, [*opts, "MODEL.NUM_ACTIONS", 2])
    _load(path, some, ["wave", "walk"], for_training=True)
    assert torch.equal(some.action_head.fc.weight, saved.action_head.fc.weight[[0, 2, 1]])
    without = _model("RoIActionDetector", 1, ["MODEL.EXCLUSIVE_ACTIONS", exclusive])
    with pytest.raises(CheckpointError, match=r"fc\.weight is \[4, .* in the file"):
        _load(path, without, ["sit", "walk", "wave"], for_training=False)


@pytest.mark.parametrize("for_training", [False, True])
def test_actions_that_are_some_of_the_files_get_their_rows(tmp_path, said, for_training):
    saved = _model()
    model = _model(seed=1, opts=["MODEL.NUM_ACTIONS", 2])
    checkpointer = _load(_save(tmp_path, saved), model, ["sit", "wave"], for_training=for_training)
    assert torch.equal(model.action_head.fc.weight, saved.action_head.fc.weight[[2, 1]])
    assert torch.equal(model.action_head.fc.bias, saved.action_head.fc.bias[[2, 1]])
    assert checkpointer.report.share == 1 and "matched by name" in said.text


@pytest.mark.parametrize("for_training", [False, True])
def test_renamed_actions_are_said(tmp_path, said, for_training):
    saved, model = _model(), _model(seed=1)
    path = _save(tmp_path, saved)
    _load(path, model, ["walk", "winken", "sit"], for_training=for_training)
    assert torch.equal(model.action_head.fc.weight, saved.action_head.fc.weight)
    (line,) = [r.getMessage() for r in said.records if "taken" in r.message]
    assert line.endswith("taken for the same: 'wave' is 'winken'")
    said.clear()
    _load(path, model, ["Walk", "wave ", "sit"], for_training=for_training)
    assert not [r for r in said.records if r.levelno >= logging.WARNING]


OTHERS = {
    "moved and others": (["wave", "walk", "stand"], "action 1 is 'walk' in the file and 'wave' in"),
    "more": (
        [*NAMES, "stand"],
        r"3 actions \('walk', 'wave', 'sit'\) in the file, 4 actions \('walk', 'wave', 'sit', \.",
    ),
    "fewer, others": (["walk", "stand"], "3 actions .* in the file, 2 actions"),
}


@pytest.mark.parametrize("names, message", OTHERS.values(), ids=OTHERS)
def test_actions_that_cannot_be_matched_are_refused_or_begin_anew(tmp_path, said, names, message):
    path = _save(tmp_path, _model())
    model = _model(seed=1, opts=["MODEL.NUM_ACTIONS", len(names)])
    before = model.action_head.fc.weight.clone()
    with pytest.raises(CheckpointError, match=message) as caught:
        _load(path, model, names, for_training=False, actions_from="data set 'b'")
    assert "\n" not in str(caught.value) and path in str(caught.value)
    assert "data set 'b'" in str(caught.value)
    _load(path, model, names)
    assert torch.equal(model.action_head.fc.weight, before)
    assert "the classifier of actions begins anew" in said.text


def test_an_unnamed_classifier_of_another_size_is_no_detector(tmp_path):
    torch.save({"model": _model().state_dict()}, tmp_path / "old.pth")
    model = _model(seed=1, opts=["MODEL.NUM_ACTIONS", 5])
    message = r"action_head.fc.weight is \[3, 32\] in the file and \[5, 32\].*MODEL.NUM_ACTIONS"
    for names in (None, list("abcde")):
        with pytest.raises(CheckpointError, match=message):
            _load(str(tmp_path / "old.pth"), model, names, for_training=False)
    _load(str(tmp_path / "old.pth"), model, None)
    same = _model(seed=1)
    checkpointer = _load(str(tmp_path / "old.pth"), same, NAMES, for_training=False)
    assert checkpointer.action_names == NAMES and checkpointer.report.share == 1


def test_a_transformer_source_is_matched_by_name_too(tmp_path):
    saved, model = _model(), _model(seed=1)
    path = _save(tmp_path, saved)
    checkpointer = TubedetCheckpointer(
        model, transformer=path, action_names=["wave", "walk", "sit"], min_matched=0.5
    )
    checkpointer.resume_or_load("", resume=False)
    assert torch.equal(model.action_head.fc.weight, saved.action_head.fc.weight[[1, 0, 2]])


def test_persons_need_no_actions(tmp_path):
    opts = ["MODEL.PERSON_ONLY", True]
    path, persons = _save(tmp_path, _model()), _model(seed=1, opts=opts)
    assert _load(path, persons, ["person"], for_training=False).report.share == 1
    sparse = _save(tmp_path, _model("SparseRCNN"), name="sparse")
    with pytest.raises(CheckpointError, match=r"3 actions .*, 1 action \('person'\) in the data"):
        _load(sparse, _model("SparseRCNN", 1, opts), ["person"], for_training=False)


def test_a_training_goes_on_with_its_actions_alone(tmp_path, said):
    model = torch.nn.ModuleDict({"action_head": torch.nn.ModuleDict({"fc": torch.nn.Linear(4, 3)})})
    _save(tmp_path, model)
    state = torch.optim.SGD(model.parameters(), lr=1.0)

    def resume(names, **states):
        checkpointer = TubedetCheckpointer(model, str(tmp_path), action_names=names, **states)
        checkpointer.resume_or_load("", resume=True)
        return checkpointer.action_names

    with pytest.raises(CheckpointError, match="'walk' in the file and 'wave' in .* goes on with"):
        resume(["wave", "walk", "sit"], optimizer=state)
    assert resume(["wave", "walk", "sit"]) == ["wave", "walk", "sit"]  # an evaluation
    assert resume(["walk", "winken", "sit"], optimizer=state) == ["walk", "winken", "sit"]
    assert "'wave' is 'winken'" in said.text
    assert resume(None, optimizer=state) == NAMES


def test_another_architecture_says_so_where_rows_would_move(tmp_path):
    model = torch.nn.ModuleDict({"labels": torch.nn.Linear(4, 3)})
    path = _save(tmp_path, model)
    _load(path, model, NAMES)
    with pytest.raises(CheckpointError, match="the classifier of this architecture is not known"):
        _load(path, model, ["wave", "walk", "sit"])


def test_a_file_that_names_more_than_it_has_is_refused(tmp_path):
    path = _save(tmp_path, _model(), names=[*NAMES, "stand", "lie"])
    with pytest.raises(CheckpointError, match="action_head.fc.* has 3 rows, but the file names 5"):
        _load(path, _model(seed=1), ["wave", "walk", "sit"], for_training=False)


def test_names_that_no_checkpoint_could_keep_are_refused_at_once():
    with pytest.raises(ValueError, match="actions of the data set: a name has 600 characters"):
        TubedetCheckpointer(torch.nn.Linear(1, 1), action_names=["x" * 600])


def test_averaged_weights_have_the_same_names(tmp_path):
    saved, average, model = _model(), _model(seed=2), _model(seed=1)
    path = tmp_path / "ema.pth"
    torch.save(
        {
            "model": saved.state_dict(),
            "model_ema": average.state_dict(),
            "action_names": NAMES,
        },
        path,
    )
    found = _load(str(path), model, ["sit", "wave", "walk"], for_training=False)
    assert torch.equal(model.action_head.fc.weight, average.action_head.fc.weight[[2, 1, 0]])
    assert found.action_names == ["sit", "wave", "walk"]
    assert _load(str(path), model, None, for_training=False).action_names == NAMES


QUERIES = "transformer.decoder.class_queries.weight"
OWN = ["walk", "wave", "sit", "lie"]


@pytest.mark.parametrize(
    "names, rows",
    [
        (["lie", "stand", "Walk"], [3, None, 0]),
        (["stand", "walk", "run", "jump", "lie"], [None, 0, None, None, 3]),
        # As many, and some of them renamed: a name decides, not a place.
        (["walk", "winken", "sit", "lie"], [0, None, 2, 3]),
        (["sit", "lie"], [2, 3]),
        (["a", "b", "c", "d"], [None] * 4),
    ],
)
@pytest.mark.parametrize("part", ["model", "transformer"])
def test_class_queries_of_actions_that_both_know_are_kept(tmp_path, said, names, rows, part):
    saved = model_of(*SMALL_VIT)
    path = _save(tmp_path, saved, OWN)
    model = model_of(*SMALL_VIT, "MODEL.NUM_ACTIONS", len(names), seed=1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    options = {"action_names": names, "min_matched": 1.0}
    if part == "model":
        checkpointer = TubedetCheckpointer(model, **options)
        checkpointer.load(path)
    else:
        checkpointer = TubedetCheckpointer(model, transformer=path, **options)
        checkpointer.resume_or_load("", resume=False)
    found, report = model.state_dict()[QUERIES], checkpointer.report
    for row, (name, source) in enumerate(zip(names, rows)):
        expected = before[QUERIES][row] if source is None else saved.state_dict()[QUERIES][source]
        assert torch.equal(found[row], expected), name
    kept = sum(row is not None for row in rows)
    if 0 < kept < len(rows):
        assert report.kept_rows == {QUERIES: (kept, len(names))}
        said_of_rows = f"{kept} of {len(names)} actions found by name, the others begin anew"
        assert report.summary().endswith(said_of_rows) and said_of_rows in report.details()
        assert report.to_json()["kept_rows"] == {QUERIES: [kept, len(names)]}
        assert f"the queries of {kept} of {len(names)} actions are found by name" in said.text
    else:
        assert report.kept_rows == {}
        assert (QUERIES in report.new) == (kept == 0 and part == "model")
    assert not report.missing and not report.mismatched
    key = "transformer.decoder.layers.1.ca_v_proj.weight"
    assert torch.equal(model.state_dict()[key], saved.state_dict()[key])


def test_class_queries_without_names_begin_anew_or_are_no_detector(tmp_path):
    saved = model_of(*SMALL_VIT)
    torch.save({"model": saved.state_dict()}, tmp_path / "old.pth")
    model = model_of(*SMALL_VIT, "MODEL.NUM_ACTIONS", 2, seed=1)
    before = model.state_dict()[QUERIES].clone()
    with pytest.raises(CheckpointError, match=rf"{QUERIES} is \[4, 32\] in the file and \[2, 32\]"):
        _load(str(tmp_path / "old.pth"), model, ["sit", "lie"], for_training=False)
    checkpointer = TubedetCheckpointer(model, action_names=["sit", "lie"], min_matched=1.0)
    checkpointer.load(str(tmp_path / "old.pth"))
    assert torch.equal(model.state_dict()[QUERIES], before)
    assert checkpointer.report.uncounted == {QUERIES} and checkpointer.report.share == 1.0
    (row,) = [line for line in checkpointer.report.details().splitlines() if QUERIES in line]
    assert row.split("  ")[0] == "new by design" and "[4, 32] in the file" in row


def test_class_queries_of_a_detector_need_every_action(tmp_path):
    path = _save(tmp_path, model_of(*SMALL_VIT), OWN)
    model = model_of(*SMALL_VIT, "MODEL.NUM_ACTIONS", 2, seed=1)
    with pytest.raises(CheckpointError, match="need a data set of actions that the file knows"):
        _load(path, model, ["sit", "stand"], for_training=False)
    _load(path, model, ["lie", "sit"], for_training=False)
    saved = torch.load(path)["model"][QUERIES]
    assert torch.equal(model.state_dict()[QUERIES], saved[[3, 2]])


def test_anchors_of_one_frame_are_those_of_every_frame_and_back(tmp_path):
    """Rows of a model for all frames are (query, frame), frames the fast ones."""
    anchors = "refpoint_embed.weight"
    tube = [*SMALL_VIT, f"{NODE}FRAMES", "all"]  # 3 queries in 8 frames
    paths = {}
    for name, options in (("key", SMALL_VIT), ("tube", tube)):
        paths[name] = _save(tmp_path, model_of(*options), OWN, name=name)
    weights = {name: torch.load(path)["model"][anchors] for name, path in paths.items()}
    assert weights["key"].shape == (3, 4) and weights["tube"].shape == (24, 4)
    five = [f"{NODE}NUM_QUERIES", 5]
    for source, options, expected in (
        ("tube", SMALL_VIT, weights["tube"].view(3, 8, 4)[:, 4]),
        ("key", tube, weights["key"][:, None].expand(3, 8, 4).flatten(0, 1)),
        ("tube", tube, weights["tube"]),
        # Other numbers of queries: spread over those of the file; one query stays one in time.
        ("key", [*SMALL_VIT, *five], weights["key"][[0, 0, 1, 2, 2]]),
        ("key", [*tube, *five], weights["key"][[0, 0, 1, 2, 2]].repeat_interleave(8, 0)),
        ("tube", [*SMALL_VIT, *five], weights["tube"][[2, 7, 12, 16, 21]]),
    ):
        for part in ({}, {"transformer": paths[source]}):
            model = model_of(*options, seed=1)
            checkpointer = TubedetCheckpointer(model, min_matched=1.0, **part)
            if part:
                checkpointer.resume_or_load("", resume=False)
            else:
                checkpointer.load(paths[source])
            assert torch.equal(model.refpoint_embed.weight, expected)
            shapes = (tuple(weights[source].shape), tuple(expected.shape))
            resized = {} if shapes[0] == shapes[1] else {anchors: shapes}
            assert checkpointer.report.resized == resized
