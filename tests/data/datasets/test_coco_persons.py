"""COCO's persons as key frames."""

import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data import ClipDatasetMapper
from tubedet.data.datasets.coco_persons import load_coco_persons, register_coco_persons
from tubedet.engine import load_config
from tubedet.evaluation import AVAEvaluator


@pytest.fixture
def coco(tmp_path):
    """Two images: 7 with two persons, a crowd and a dog; 8 with a dog only."""
    images = tmp_path / "val2017"
    images.mkdir()
    rng = np.random.RandomState(0)
    for number in (7, 8):
        cv2.imwrite(str(images / f"{number:012}.png"), rng.randint(0, 255, (40, 80, 3), np.uint8))
    boxes = [(7, 1, [8, 4, 16, 20], 0), (7, 1, [40, 0, 40, 40], 0), (7, 1, [0, 0, 80, 40], 1)]
    boxes += [(7, 18, [1, 1, 5, 5], 0), (8, 18, [1, 1, 5, 5], 0), (7, 1, [3, 3, 0, 5], 0)]
    content = {
        "images": [
            {"id": n, "file_name": f"{n:012}.png", "height": 40, "width": 80} for n in (7, 8)
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
            for i, (image, category, box, crowd) in enumerate(boxes, 1)
        ],
    }
    json_file = tmp_path / "annotations" / "instances_val2017.json"
    json_file.parent.mkdir()
    json_file.write_text(json.dumps(content))
    return str(json_file), str(images)


def test_images_with_persons_become_key_frames(coco):
    (image,) = load_coco_persons(*coco)
    assert image["video_id"] == "7" and (image["height"], image["width"]) == (40, 80)
    assert [a["bbox"] for a in image["annotations"]] == [[8, 4, 24, 24], [40, 0, 80, 40]]
    assert {a["actions"][0] for a in image["annotations"]} == {0}


def test_the_clip_is_the_image_repeated(coco):
    (image,) = load_coco_persons(*coco)
    opts = ["INPUT.MIN_SIZE_TEST", 40, "INPUT.CLIP.NUM_FRAMES", 8, "MODEL.NUM_ACTIONS", 1]
    mapped = ClipDatasetMapper(load_config("", opts), is_train=False)(image)
    stored = cv2.cvtColor(cv2.imread(image["video"]), cv2.COLOR_BGR2RGB)
    expected = torch.from_numpy(stored).permute(2, 0, 1)[:, None].expand(-1, 8, -1, -1)
    assert torch.equal(mapped["clip"], expected)


def test_a_registered_split_is_evaluated(coco):
    name = "coco_persons_test"
    register_coco_persons(name, *coco)
    try:
        assert len(DatasetCatalog.get(name)) == 1
        evaluator = AVAEvaluator(name, person_only=True)
        assert evaluator._groundtruth.boxes.tolist() == [[0.1, 0.1, 0.3, 0.6], [0.5, 0, 1, 1]]
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_a_missing_json_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="annotations_trainval2017.zip"):
        load_coco_persons(str(tmp_path / "coco" / "annotations" / "x.json"), str(tmp_path))
