"""One process of a sharded evaluation: ``python sharded_evaluation.py RANK WORLD_SIZE FOLDER``.

Writes FOLDER/shards/... (all processes together) and FOLDER/alone/... (the first process alone).
"""

import json
import sys
from pathlib import Path

import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from torch import distributed

from tubedet.evaluation.ava_evaluator import AVAEvaluator

KEY_FRAMES = [(video, second) for video in ("b", "a", "c") for second in (902, 903, 904)]


def predict(video_id, second):
    """The same input and output in every process."""
    generator = torch.Generator().manual_seed(1000 * ord(video_id) + second)
    corners = torch.rand(6, 2, generator=generator) * 40
    sizes = 10 + torch.rand(6, 2, generator=generator) * 30
    instances = Instances((90, 120))
    person = torch.tensor([[12.0, 18.0, 60.0, 72.0]])
    instances.pred_boxes = Boxes(torch.cat([person, torch.cat([corners, corners + sizes], dim=1)]))
    instances.action_scores = torch.rand(7, 80, generator=generator)
    key_frame = {"video_id": video_id, "timestamp": float(second), "height": 90, "width": 120}
    return key_frame, {"instances": instances}


def main(rank, world_size, folder):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    MetadataCatalog.get("sharded").set(
        groundtruth_csv=str(folder / "gt.csv"), label_map=str(folder / "map.pbtxt")
    )
    share = AVAEvaluator("sharded", folder / "shards", protocol="official_2018")
    for video_id, second in KEY_FRAMES[rank::world_size]:
        key_frame, output = predict(video_id, second)
        share.process([key_frame], [output])
    results = {"shards": share.evaluate()}
    if rank == 0:
        alone = AVAEvaluator(
            "sharded", folder / "alone", protocol="official_2018", distributed=False
        )
        alone.process(*zip(*(predict(*key_frame) for key_frame in KEY_FRAMES)))
        results["alone"] = alone.evaluate()
    (folder / f"results_{rank}.json").write_text(json.dumps(results))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
