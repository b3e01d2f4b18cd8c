"""Pictures and the gradients' norm in the TensorBoard files of a training."""

import os

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tubedet.engine import Trainer, load_config
from tubedet.engine.dataset_lists import read_key_frames
from tubedet.inference.evaluation_pictures import draw_evaluation

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


def test_a_training_writes_as_many_as_the_key_says(some_key_frames, tmp_path, monkeypatch):
    cfg = load_config(
        CONFIG,
        ["DATASETS.TRAIN", (some_key_frames,), "DATASETS.TEST", (some_key_frames,)]
        + ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 1, "INPUT.CLIP.NUM_FRAMES", 2]
        + ["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MIN_SIZE_TEST", 32, "SOLVER.MAX_ITER", 2]
        + ["MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "TEST.EVAL_PERIOD", 1, "TEST.PICTURES", 3]
        + ["OUTPUT_DIR", str(tmp_path)],
    )
    os.makedirs(tmp_path, exist_ok=True)
    monkeypatch.setattr(Trainer, "test", staticmethod(lambda *_: {"frame_ap": {"mAP": 1.0}}))
    Trainer(cfg, draw=draw_evaluation).train()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "scalars": 0}).Reload()
    tags = events.Tags()["images"]
    middle = [read_key_frames(cfg, [some_key_frames], is_train=False)[n] for n in (1, 3, 5)]
    assert tags == [f"{some_key_frames}/{k['video_id']} at {k['timestamp']:g} s" for k in middle]
    assert [image.step for image in events.Images(tags[0])] == [0, 2]
    assert events.Images(tags[0])[0].width == 2 * events.Images(tags[0])[0].height
    # Gradients, before they were clipped, are beside the losses.
    assert all(
        scalar.value > cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE
        for scalar in events.Scalars("grad_norm")
    )
