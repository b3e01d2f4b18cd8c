"""Learning, for real but briefly."""

import os
import threading

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils.env import seed_all_rng
from full_disk import fill_disk

from tubedet.data.device_transfer import DevicePrefetcher, with_tensors
from tubedet.engine import Trainer, load_config
from tubedet.errors import UserError
from tubedet.files import atomic_writing

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


def test_two_key_frames_are_learned_by_heart(two_key_frames, some_key_frames, tmp_path):
    cfg = load_config(
        CONFIG,
        ["DATASETS.TRAIN", (two_key_frames,), "DATASETS.TEST", (two_key_frames,)]
        + ["SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 150, "SOLVER.WARMUP_ITERS", 10]
        + ["SOLVER.BASE_LR", 1e-3, "MODEL.TUBER.DROPOUT", 0.0, "MODEL.TUBER.ACTION_DROPOUT", 0.0]
        + ["INPUT.RANDOM_FLIP", "none", "INPUT.CLIP.HSV_JITTER", (0, 0, 0)]
        + ["DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", str(tmp_path / "out")],
    )
    os.makedirs(cfg.OUTPUT_DIR)
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    results = trainer.test(cfg, trainer.model)
    assert results["frame_ap"]["mAP@0.5IOU"] > 95

    # On further key frames, of which the model knows some: size of a pass and precision.
    found = {}
    for name, opts in {
        "plain": [],
        "batches": ["TEST.BATCH_SIZE", 3],
        "bfloat16": ["TEST.BATCH_SIZE", 3, "TEST.AMP", "bfloat16"],
    }.items():
        folder = tmp_path / name
        varied = cfg.clone()
        varied.merge_from_list(["DATASETS.TEST", (some_key_frames,), "OUTPUT_DIR", str(folder)])
        varied.merge_from_list(opts)
        found[name] = trainer.test(varied, trainer.model)["frame_ap"]["mAP@0.5IOU"]
    assert 10 < found["plain"] < 95
    assert found["batches"] == pytest.approx(found["plain"], abs=1e-3)
    # Some of the few detections change places, which ones depends on the processor.
    assert found["bfloat16"] == pytest.approx(found["plain"], abs=3)


def test_settings_of_an_iteration_come_from_the_config(two_key_frames, tmp_path):
    cfg = load_config(
        CONFIG,
        ["DATASETS.TRAIN", (two_key_frames,), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0]
        + ["SOLVER.CLIPS_PER_PASS", 2, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.25]
        + ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16", "OUTPUT_DIR", str(tmp_path)],
    )
    trainer = Trainer(cfg)._trainer
    assert trainer.clips_per_pass == 2
    assert trainer.max_grad_norm == 0.25
    assert trainer.amp_dtype == torch.bfloat16


@pytest.mark.parametrize(
    "opts, error, message",
    [
        (["DATASETS.TEST", ("nowhere.yaml",)], FileNotFoundError, "nowhere.yaml"),
        (["TEST.AVA_PROTOCOL", "oficial"], ValueError, "unknown AVA protocol 'oficial'"),
    ],
)
def test_what_cannot_be_evaluated_is_not_trained(two_key_frames, opts, error, message):
    data = ["DATASETS.TRAIN", (two_key_frames,), "DATASETS.TEST", (two_key_frames,)]
    with pytest.raises(error, match=message):
        Trainer(load_config(CONFIG, [*data, *opts]))


def test_evaluation_broadcasts_the_main_process_statistics(monkeypatch):
    """Batch-norm statistics differ between training processes; evaluation uses one set."""
    sent = []
    monkeypatch.setattr("tubedet.engine.trainer.comm.get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda t, src: sent.append((t, src)))
    cfg = load_config("", ["DATASETS.TEST", ()])
    model = torch.nn.BatchNorm3d(2)
    Trainer.test(cfg, model)
    assert [src for _, src in sent] == [0] * 3
    assert sent[0][0] is model.running_mean


def test_metadata_chooses_the_evaluator(monkeypatch):
    made = []
    for name in ("AVAEvaluator", "ActionTubeEvaluator"):
        monkeypatch.setattr(
            f"tubedet.engine.trainer.{name}",
            lambda *args, name=name, **options: made.append((name, *args, options)),
        )
    cfg = load_config(
        "",
        ["TEST.AVA_PROTOCOL", "official_2018", "TEST.TUBE_PROTOCOL", "voc", "OUTPUT_DIR", "out"]
        + ["MODEL.PERSON_ONLY", True, "TEST.TUBE_CLASSES", "best", "TEST.TUBE_PERSON_THRESH", 0.7],
    )
    folder = os.path.join("out", "inference")
    try:
        for evaluator_type in ("ava", "action_tubes", "coco"):
            MetadataCatalog.get(f"some_{evaluator_type}").set(evaluator_type=evaluator_type)
        Trainer.build_evaluator(cfg, "some_ava")
        Trainer.build_evaluator(cfg, "some_action_tubes")
        with pytest.raises(ValueError, match="data set 'some_coco': no evaluator for 'coco'"):
            Trainer.build_evaluator(cfg, "some_coco")
    finally:
        for evaluator_type in ("ava", "action_tubes", "coco"):
            MetadataCatalog.remove(f"some_{evaluator_type}")
    assert made == [
        (
            "AVAEvaluator",
            "some_ava",
            folder,
            {"protocol": "official_2018", "person_only": True, "sampled": False},
        ),
        (
            "ActionTubeEvaluator",
            "some_action_tubes",
            folder,
            {
                "protocol": "voc",
                "tube_classes": "best",
                "tube_person_thresh": 0.7,
                "sampled": False,
            },
        ),
    ]


def test_a_schedule_that_does_not_exist_is_named():
    cfg = load_config("", ["SOLVER.LR_SCHEDULER_NAME", "nope"])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(UserError, match="SOLVER.LR_SCHEDULER_NAME or its values: .*nope"):
        Trainer.build_lr_scheduler(cfg, optimizer)


class _ClonedCopies:
    """Takes the place of a copy to a GPU."""

    def copy(self, batch):
        return with_tensors(batch, torch.clone), len(batch)

    def hand_over(self, batch, event):
        assert len(batch) == event


class _CopiedAhead(DevicePrefetcher):
    def __init__(self, loader, device):
        super().__init__(loader, device, copy_stream=_ClonedCopies())


def test_batches_copied_ahead_train_the_same(two_key_frames, tmp_path, monkeypatch):
    weights, clips = [], []
    for is_ahead in (False, True):
        if is_ahead:
            monkeypatch.setattr("tubedet.engine.trainer.DevicePrefetcher", _CopiedAhead)
        cfg = load_config(
            CONFIG,
            ["DATASETS.TRAIN", (two_key_frames,), "DATASETS.TEST", (), "SOLVER.MAX_ITER", 3]
            + ["SOLVER.IMS_PER_BATCH", 3, "SOLVER.CLIPS_PER_PASS", 2, "DATALOADER.NUM_WORKERS", 1]
            + ["OUTPUT_DIR", str(tmp_path / str(is_ahead)), "MODEL.DEVICE", "cpu", "SEED", 4],
        )
        os.makedirs(cfg.OUTPUT_DIR)
        seed_all_rng(4)
        trainer = Trainer(cfg)
        trainer.model.register_forward_pre_hook(lambda _, inputs: clips.append(len(inputs[0])))
        trainer.resume_or_load(resume=False)
        trainer.train()
        assert not any(thread.name == "read-ahead" for thread in threading.enumerate())
        weights.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    assert clips == [2, 1] * 6
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=0, msg=name)


def test_a_full_disk_ends_a_training_with_a_line(two_key_frames, tmp_path, monkeypatch, caplog):
    cfg = load_config(
        CONFIG,
        ["DATASETS.TRAIN", (two_key_frames,), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0]
        + ["SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 1]
        + ["INPUT.MIN_SIZE_TRAIN", (32,), "SOLVER.WARMUP_ITERS", 0, "INPUT.CLIP.NUM_FRAMES", 2]
        + ["OUTPUT_DIR", str(tmp_path)],
    )
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    save = trainer.checkpointer.save

    def save_on_full_disk(name, **state):
        if name == "model_0000001":
            fill_disk(monkeypatch, atomic_writing, room=10_000)
        save(name, **state)

    monkeypatch.setattr(trainer.checkpointer, "save", save_on_full_disk)
    with pytest.raises(OSError, match="the disk is full") as told:
        trainer.train()
    assert told.value.filename == str(tmp_path)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"
    assert torch.load(tmp_path / "model_0000000.pth", weights_only=True)["iteration"] == 0
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]
