"""Small COCO-style json of videos, in the shapes that people have."""

COCO_VID = {
    "videos": [{"id": 7, "file_name": "day1/gym.mp4"}, {"id": 8, "name": "hall"}],
    "images": [
        {"id": 100, "video_id": 7, "frame": 0},
        {"id": 101, "video_id": 7, "frame_id": 1},
        {"id": 102, "video_id": 7, "frame_id": 2},
        {"id": 103, "video_id": 7, "frame_id": 3},
    ],
    "annotations": [
        {"image_id": 100, "bbox": [10, 20, 30, 40.5], "category_id": 5, "track_id": 1},
        {"image_id": 101, "bbox": [11, 20, 30, 40], "category_id": 5, "track_id": 1},
        {"image_id": 101, "bbox": [11, 20, 30, 40], "category_id": 2, "instance_id": 1},
        {"video_id": 8, "frame": 9, "bbox": [0, 0, 5, 5], "category_id": 2, "track_id": 0},
        {"image_id": 102, "bbox": [0, 0, 9, 9], "category_id": 2, "track_id": 0, "iscrowd": 1},
    ],
    "categories": [{"id": 5, "name": "run"}, {"id": 2, "name": "wave"}],
}

CVAT = {
    "categories": [{"id": 1, "name": "person"}],
    "images": [
        {"id": i + 1, "width": 320, "height": 240, "file_name": f"frame_{i:06}.PNG"}
        for i in range(3)
    ],
    "annotations": [
        {
            "id": i,
            "image_id": image,
            "category_id": 1,
            "segmentation": [],
            "bbox": [135 + image, 55, 64, 124],
            "iscrowd": 0,
            "attributes": {"occluded": False, "track_id": 4, "keyframe": True, **attributes},
        }
        for i, (image, attributes) in enumerate(
            [
                (1, {"action": "run", "smiles": False, "rotation": 0.0}),
                (2, {"action": "__undefined__", "smiles": True, "rotation": 90.0}),
            ]
        )
    ],
}

TAO = {
    "videos": [
        {"id": 0, "width": 640, "height": 480, "neg_category_ids": [3], "name": "train/YFCC/v_1"}
    ],
    "annotations": [
        {"image_id": 0, "track_id": 6, "bbox": [600, 97.5, 150, 301], "video_id": 0, "iscrowd": 0},
        {"image_id": 1, "track_id": 6, "category_id": 805, "bbox": [1, 2, 3, 4], "video_id": 0},
    ],
    "tracks": [{"id": 6, "category_id": 805, "video_id": 0}],
    "images": [
        {
            "id": i,
            "video_id": 0,
            "frame_index": n,
            "frame_id": i,
            "file_name": f"v/frame{n + 1}.jpg",
        }
        for i, n in enumerate((390, 420, 450))
    ],
    "categories": [{"id": 805, "name": "baby", "synset": "person.n.01"}],
}

YOUTUBE_VIS_BOX, MOVED = [135, 55, 64, 124], [140, 55, 64.5, 124]
MASK = {"size": [240, 320], "counts": [240 * 10 + 20, 30, 210, 30, 240 * 308 - 50]}
YOUTUBE_VIS = {
    "videos": [
        {
            "id": 1,
            "width": 320,
            "height": 240,
            "length": 4,
            "file_names": [f"juggling/{n:05}.jpg" for n in (0, 5, 10, 15)],
        },
        {"id": 2, "width": 64, "height": 48, "file_names": ["JPEGImages/ab/img_0000001.jpg"]},
    ],
    "categories": [{"id": 3, "name": "walk"}, {"id": 1, "name": "juggle"}],
    "annotations": [
        {
            "id": 7,
            "video_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "bboxes": [YOUTUBE_VIS_BOX, None, MOVED, None],
            "areas": [9, None, 9, None],
        },
        {
            "id": 8,
            "video_id": 1,
            "category_id": 3,
            "bboxes": [None, None, YOUTUBE_VIS_BOX, None],
            "segmentations": [MASK, None, None, None],
            "occlusion": ["no_occlusion"] * 4,
        },
    ],
}
