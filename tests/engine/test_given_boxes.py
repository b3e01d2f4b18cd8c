"""Training and evaluation of a classifier of given boxes, and what has no boxes to classify."""

import json

import pytest
from detectron2.data import DatasetCatalog
from detectron2.utils.env import seed_all_rng

from tubedet import load_model
from tubedet.engine import Trainer, load_config
from tubedet.engine.config_checks import check_run_config
from tubedet.errors import UserError

CONFIG = "configs/quick_schedules/RoI_toy.yaml"


def _config(data, folder, *opts):
    return load_config(
        CONFIG,
        ["DATASETS.TRAIN", (data,), "DATASETS.TEST", (data,), "DATALOADER.NUM_WORKERS", 0]
        + ["SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 60, "SOLVER.WARMUP_ITERS", 5]
        + ["INPUT.CLIP.NUM_FRAMES", 4, "MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", 0.003]
        + ["INPUT.RANDOM_FLIP", "none", "INPUT.CLIP.HSV_JITTER", (0, 0, 0)]
        + ["OUTPUT_DIR", str(folder), *opts],
    )


def test_annotated_boxes_are_learned_by_heart(two_key_frames, tmp_path):
    """Their places are given, so only the actions are to be learned."""
    cfg = _config(two_key_frames, tmp_path)
    check_run_config(cfg, num_processes=1, eval_only=False)
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    lines = [json.loads(line) for line in open(tmp_path / "metrics.json")]
    (figure,) = [m["frame_ap/mAP@0.5IOU"] for m in lines if "frame_ap/mAP@0.5IOU" in m]
    assert figure > 90

    weights = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    cfg.merge_from_list(weights)
    assert Trainer.evaluate_weights(cfg)["frame_ap"]["mAP@0.5IOU"] == pytest.approx(figure)
    names = load_model(cfg).action_names
    assert names is not None and len(names) == 80


def test_a_box_beside_the_person_is_no_detection(two_key_frames, tmp_path):
    """Boxes of a file count as they are: what is elsewhere finds nobody, whatever is learned."""
    boxes = tmp_path / "boxes.csv"
    rows = [
        f"{record['video_id']},{record['timestamp']:.0f},0.0,0.0,0.02,0.02,,0.99\n"
        for record in DatasetCatalog.get(two_key_frames)
    ]
    boxes.write_text("".join(rows))
    files = ["DATASETS.PROPOSAL_FILES_TEST", (str(boxes),)]
    cfg = _config(two_key_frames, tmp_path / "run", *files)
    results = Trainer.evaluate_weights(cfg)
    assert results["frame_ap"]["mAP@0.5IOU"] == 0
    csv = next((tmp_path / "run" / "inference").glob("*_predictions.csv")).read_text()
    (first, *_) = csv.splitlines()
    assert [float(x) for x in first.split(",")[2:6]] == pytest.approx([0, 0, 0.02, 0.02], abs=1e-5)


@pytest.mark.parametrize(
    "opts, eval_only, message",
    [
        (["TEST.GROUND_TRUTH_BOXES", False], True, "needs boxes to evaluate on: name a file"),
        (["MODEL.ROI_ACTION.TRAIN_ON_PROPOSALS", True], False, "PROPOSALS is True, but DATASETS"),
        (["DATASETS.PROPOSAL_FILES_TRAIN", ("a.csv",)], False, "is False, but DATASETS.PROPOSAL"),
    ],
)
def test_a_run_without_boxes_does_not_start(two_key_frames, tmp_path, opts, eval_only, message):
    cfg = _config(two_key_frames, tmp_path, *opts)
    with pytest.raises(UserError, match=message):
        check_run_config(cfg, num_processes=1, eval_only=eval_only)
    if not eval_only:
        check_run_config(cfg, num_processes=1, eval_only=True)
