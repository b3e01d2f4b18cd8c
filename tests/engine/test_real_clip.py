"""A real clip with its real boxes, from a video file through training to frame-mAP."""

import json
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.env import seed_all_rng

from tubedet.data.datasets.builtin import UCF101_24_ACTIONS
from tubedet.engine import Trainer, load_config

_SHARED = Path(__file__).parents[3] / "shared/data"
_VIDEO = "v_SoccerJuggling_g23_c01"
# A TubeR of one encoder and two decoder layers on clips of 8 frames of 64x48 pixels.
_OPTIONS = (
    *("MODEL.NUM_ACTIONS", 24, "MODEL.EXCLUSIVE_ACTIONS", True, "MODEL.DEVICE", "cpu"),
    *("MODEL.TUBER.NUM_QUERIES", 2, "MODEL.CRITERION.NO_OBJECT_WEIGHT", 1.0),
    *("MODEL.TUBER.ENC_LAYERS", 1, "MODEL.TUBER.DEC_LAYERS", 2, "MODEL.CRITERION.COST_CLASS", 5.0),
    *("INPUT.CLIP.FRAME_STRIDE", 1, "INPUT.RANDOM_FLIP", "none"),
    *("INPUT.CLIP.HSV_JITTER", (0, 0, 0), "SOLVER.IMS_PER_BATCH", 4, "SOLVER.BASE_LR", 0.001),
    *("SOLVER.WARMUP_ITERS", 20, "SOLVER.MAX_ITER", 260, "TEST.EVAL_PERIOD", 0),
)


@pytest.mark.skipif(not _SHARED.exists(), reason=f"no {_SHARED}")
def test_tiny_model_overfits_a_ucf101_24_clip(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / f"videos/{_VIDEO}.avi").symlink_to(_SHARED / f"clips/{_VIDEO}.avi")
    boxes = json.loads((_SHARED / "ucf101_24/soccer_juggling_g23_c01_boxes.json").read_text())
    rows = [
        f"{_VIDEO},{number},{','.join(map(str, box))},19,0\n"
        for number, *box in boxes[_VIDEO]["tube_frame1based_xyxy"]
    ]
    names = []
    for subset, step in (("train", 1), ("test", 5)):
        (tmp_path / f"{subset}.csv").write_text("".join(rows[::step]))
        (tmp_path / f"{subset}.yaml").write_text(
            f"videos: videos\nannotations: {subset}.csv\nclasses: {list(UCF101_24_ACTIONS)}\n"
            "fps: 30000/1001\nexclusive: true\nboxes: pixels\ntimestamps: frames\n"
        )
        names.append(str(tmp_path / f"{subset}.yaml"))
    cfg = load_config(
        "configs/quick_schedules/TubeR_toy.yaml",
        [*_OPTIONS, "DATASETS.TRAIN", names[:1], "DATASETS.TEST", names[1:]]
        + ["OUTPUT_DIR", str(tmp_path / "output")],
    )
    (tmp_path / "output").mkdir()
    seed_all_rng(1)
    trainer = Trainer(cfg)
    trainer.train()
    figures = Trainer.test(cfg, trainer.model)["frame_ap_act"]
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert figures["mAP@0.5IOU"] > 90
