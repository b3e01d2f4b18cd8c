import json

import pytest
from pycocotools.coco import COCO

from tubedet.inference.writers import CocoJsonWriter

NAMES = ["stand", "walk", "sit"]


def test_pycocotools_reads_it(tmp_path, key_frames):
    path = tmp_path / "film.json"
    with CocoJsonWriter(path, "film", NAMES) as writer:
        for result, persons in key_frames:
            writer.write(result, persons)
        assert not path.exists()
    coco = COCO(str(path))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == NAMES
    first, second = coco.loadImgs(coco.getImgIds())
    assert first == {
        "id": 1,
        "file_name": "film/0007.jpg",
        "video_id": "film",
        "timestamp": 7.0,
        "width": 200,
        "height": 50,
    }
    assert second["timestamp"] == 7.3 and coco.getAnnIds(imgIds=[second["id"]]) == []
    (walk,) = coco.loadAnns(coco.getAnnIds(imgIds=[1], catIds=coco.getCatIds(["walk"])))
    assert walk == {
        "id": 3,
        "image_id": 1,
        "category_id": 2,
        "bbox": [150.0, 0.0, 40.12, 40.0],
        "area": 1604.8,
        "iscrowd": 0,
        "score": 0.8,
        "track_id": 1,
    }
    assert [a["score"] for a in coco.loadAnns(coco.getAnnIds())] == [0.5, 0.25, 0.8, 0.05]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("num_key_frames", [0, 1])
def test_short_videos_are_valid_json(tmp_path, key_frames, num_key_frames):
    with CocoJsonWriter(tmp_path / "film.json", "film", NAMES) as writer:
        for result, persons in key_frames[1 : 1 + num_key_frames]:
            writer.write(result, persons)
    content = json.loads((tmp_path / "film.json").read_text())
    assert len(content["images"]) == num_key_frames and content["annotations"] == []


def test_an_exception_at_the_end_leaves_nothing(tmp_path, key_frames, monkeypatch):
    with pytest.raises(OSError, match="full"), CocoJsonWriter(tmp_path / "a", "a", NAMES) as writer:
        writer.write(*key_frames[0])
        monkeypatch.setattr("shutil.copyfileobj", lambda *_: (_ for _ in ()).throw(OSError("full")))
    assert list(tmp_path.iterdir()) == []
