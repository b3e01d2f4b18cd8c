import logging
import time
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.structures import BoxMode

import tubedet
from tubedet.data.annotations.ava_csv import AnnotationError
from tubedet.data.datasets.ava import AVAFiles, load_ava, register_ava

AVA = Path(__file__).parents[3] / "../shared/data/ava"
LABEL_MAPS = Path(tubedet.__file__).parent / "data/datasets/label_maps"
LABELS = {
    "action_list": str(LABEL_MAPS / "ava_action_list_v2.1.pbtxt"),
    "label_map": str(LABEL_MAPS / "ava_action_list_v2.1_for_activitynet_2018.pbtxt"),
}

CSV = """\
vid_b,0903,0.100,0.200,0.500,0.900,12,1
vid_b,0902,0.100,0.200,0.500,0.900,80,0
vid_b,0902,0.100,0.200,0.500,0.900,12,0
vid_b,0902,0.600,0.200,0.900,0.900,14,1
vid_b,0902,0.100,0.200,0.500,0.900,12,0
vid_b,0902,0.100,0.200,0.500,0.900,12,7
vid_a,0905,0.000,0.000,1.000,1.000,2,3
vid_a,0904,0.000,0.000,1.000,1.000,99,3
"""


@pytest.fixture
def write_files(tmp_path):
    """Function which writes a csv and further files, and returns their paths as AVAFiles."""

    def write(csv=CSV, **texts) -> AVAFiles:
        paths = {}
        for field, text in {"groundtruth_csv": csv, **texts}.items():
            paths[field] = str(tmp_path / field)
            Path(paths[field]).write_text(text)
        frames_dir, videos_dir = str(tmp_path / "frames"), str(tmp_path / "videos")
        return AVAFiles(**LABELS, **paths, frames_dir=frames_dir, videos_dir=videos_dir)

    return write


def persons(record):
    return [(a["bbox"][0], a["actions"], a["person_id"]) for a in record["annotations"]]


def key_frames(dataset_dicts):
    return [(record["video_id"], record["timestamp"]) for record in dataset_dicts]


def test_one_dict_per_key_frame_and_one_annotation_per_person(write_files, caplog):
    with caplog.at_level(logging.INFO):
        dataset_dicts = load_ava(write_files(), name="tiny")
    assert key_frames(dataset_dicts) == [
        ("vid_a", 904.0),
        ("vid_a", 905.0),
        ("vid_b", 902.0),
        ("vid_b", 903.0),
    ]
    assert persons(dataset_dicts[2]) == [(0.1, [11, 79], 0), (0.1, [11], 7), (0.6, [13], 1)]
    assert persons(dataset_dicts[3]) == [(0.1, [11], 1)]
    record = dataset_dicts[2]
    assert isinstance(record["timestamp"], float)
    assert (record["fps"], record["start_second"]) == (30.0, 900.0)
    assert record["annotations"][0]["bbox"] == [0.1, 0.2, 0.5, 0.9]
    assert record["annotations"][0]["bbox_mode"] == BoxMode.XYXY_REL
    assert "height" not in record and "width" not in record
    assert persons(dataset_dicts[0]) == []  # its only action is in no label map
    (message,) = [r.getMessage() for r in caplog.records if r.name == "tubedet.data.datasets.ava"]
    assert "tiny: 4 key frames of 2 videos, 1 of them without a usable box, 5 boxes" in message
    assert "from 8 rows; left out: 0 excluded key frames, 1 rows" in message


def test_seven_columns_without_padding(write_files):
    csv = "v,902,0.1,0.2,0.5,0.9,12\nv,902,0.1,0.2,0.5,0.9,80\n"
    (record,) = load_ava(write_files(csv))
    assert record["timestamp"] == 902.0 and persons(record) == [(0.1, [11, 79], -1)]


def test_rows_of_two_columns_are_empty_key_frames(write_files):
    dataset_dicts = load_ava(write_files("v,0902\nv,0903,0.1,0.2,0.5,0.9,12,0\nv,0905\n"))
    assert [(r["timestamp"], len(r["annotations"])) for r in dataset_dicts] == [
        (902.0, 0),
        (903.0, 1),
        (905.0, 0),
    ]


def test_excluded_key_frames_are_left_out(write_files, caplog):
    with caplog.at_level(logging.INFO):
        dataset_dicts = load_ava(write_files(exclusions_csv="vid_b,0902\nvid_b,1000\n"))
    assert key_frames(dataset_dicts) == [("vid_a", 904.0), ("vid_a", 905.0), ("vid_b", 903.0)]
    assert "left out: 1 excluded key frames" in caplog.text


def test_listed_seconds_add_empty_key_frames(write_files):
    lists = {
        "included_timestamps": "0902\n0903\n",
        "file_names": "vid_b.mkv\nvid_c.webm\n",
        "exclusions_csv": "vid_c,0903\n",
    }
    dataset_dicts = load_ava(write_files(**lists))
    assert [
        (*k, len(r["annotations"]))
        for k, r in zip(key_frames(dataset_dicts), dataset_dicts, strict=True)
    ] == [
        ("vid_a", 904.0, 0),
        ("vid_a", 905.0, 1),
        ("vid_b", 902.0, 3),
        ("vid_b", 903.0, 1),
        ("vid_c", 902.0, 0),
    ]


def test_one_list_alone_adds_nothing(write_files):
    assert len(load_ava(write_files(included_timestamps="0902\n0903\n"))) == 4


def test_video_info_turns_fractions_into_pixels(write_files):
    info = "video_id,height,width,fps,start_second,num_frames\nvid_b,96,128,15.0,890,300\n"
    by_key = {
        (r["video_id"], r["timestamp"]): r for r in load_ava(write_files(video_info_csv=info))
    }
    known, unknown = by_key["vid_b", 903.0], by_key["vid_a", 905.0]
    assert (known["height"], known["width"]) == (96, 128)
    assert (known["fps"], known["start_second"]) == (15.0, 890.0)
    assert known["annotations"][0]["bbox_mode"] == BoxMode.XYXY_ABS
    np.testing.assert_allclose(known["annotations"][0]["bbox"], [12.8, 19.2, 64.0, 86.4])
    assert unknown["annotations"][0]["bbox_mode"] == BoxMode.XYXY_REL
    assert "height" not in unknown and unknown["fps"] == 30.0


def test_media_are_found_without_being_opened(write_files, tmp_path):
    files = write_files("".join(f"v{i},0902,0.1,0.2,0.5,0.9,12,0\n" for i in range(5)))
    videos = {r["video_id"]: r["video"] for r in load_ava(files)}
    assert videos["v0"] == str(tmp_path / "videos/v0.mp4")  # expected there; nothing exists
    (tmp_path / "videos").mkdir()
    for name in ("v0.webm", "v1.avi", "v1.mkv", "v2.mp4", "v3.txt"):
        (tmp_path / "videos" / name).write_text("not a video, and nobody looks")
    (tmp_path / "frames/v2").mkdir(parents=True)
    videos = {r["video_id"]: Path(r["video"]) for r in load_ava(files)}
    assert {v: str(path.relative_to(tmp_path)) for v, path in videos.items()} == {
        "v0": "videos/v0.webm",
        "v1": "videos/v1.mkv",
        "v2": "frames/v2",
        "v3": "videos/v3.mp4",
        "v4": "videos/v4.mp4",
    }


def test_missing_media_are_expected_among_the_frames_if_there_are_only_frames(
    write_files, tmp_path
):
    (tmp_path / "frames").mkdir()
    videos = {r["video_id"]: r["video"] for r in load_ava(write_files())}
    assert videos["vid_a"] == str(tmp_path / "frames/vid_a")


@pytest.mark.parametrize(
    "texts, message",
    [
        ({"csv": CSV + "vid_a,0902,0.1\n"}, r"groundtruth_csv:9: "),
        ({"exclusions_csv": "vid_a,0902\nvid_a\n"}, r"exclusions_csv:2: "),
        (
            {"included_timestamps": "0902\nnine\n", "file_names": "a.mp4\n"},
            r"included_timestamps:2: \'nine\' in the list of seconds: expected",
        ),
        (
            {"video_info_csv": "video_id,height\nvid_a,96\n"},
            r"video_info_csv:1: no column fps, .*width",
        ),
        (
            {"video_info_csv": "video_id,height,width,fps,start_second\nvid_a,96,128,0,900\n"},
            r"video_info_csv:2: '0' in column fps: expected a positive",
        ),
    ],
)
def test_malformed_files_are_named_with_the_line(write_files, texts, message):
    with pytest.raises(AnnotationError, match=message):
        load_ava(write_files(**texts))


def test_missing_csv_says_how_to_get_it(tmp_path):
    files = AVAFiles(str(tmp_path / "no.csv"), **LABELS, how_to_get="Ask your neighbour.")
    with pytest.raises(
        FileNotFoundError, match=r"no\.csv, a file of the data set 'x'.*Ask your neighbour"
    ):
        load_ava(files, name="x")


@pytest.fixture
def registered(write_files):
    files = write_files(exclusions_csv="vid_b,0903\n")
    register_ava("test_ava_tiny", files)
    yield files
    DatasetCatalog.remove("test_ava_tiny")
    MetadataCatalog.remove("test_ava_tiny")


def test_registration(registered):
    metadata = MetadataCatalog.get("test_ava_tiny")
    assert metadata.evaluator_type == "ava"
    assert metadata.groundtruth_csv == registered.groundtruth_csv
    assert metadata.label_map == registered.label_map
    assert metadata.exclusions_csv == registered.exclusions_csv
    assert len(metadata.action_names) == 80
    assert metadata.action_names[0] == "bend/bow (at the waist)"
    assert metadata.action_names[79] == "watch (a person)"
    assert len(metadata.evaluated_ids) == 60 and metadata.evaluated_ids[:3] == [1, 3, 4]
    assert key_frames(DatasetCatalog.get("test_ava_tiny")) == [
        ("vid_a", 904.0),
        ("vid_a", 905.0),
        ("vid_b", 902.0),
    ]


def test_empty_key_frames_are_kept_for_evaluation_and_filtered_for_training(registered):
    kept = get_detection_dataset_dicts("test_ava_tiny", filter_empty=False)
    filtered = get_detection_dataset_dicts("test_ava_tiny", filter_empty=True)
    assert len(kept) == 3
    assert key_frames(filtered) == [("vid_a", 905.0), ("vid_b", 902.0)]


def test_real_validation_csv():
    csv = AVA / "ava_val_v2.1_pose_only.csv.gz"
    if not csv.is_file():
        pytest.skip(f"{csv.name}: the real annotations are not part of the repository")
    files = AVAFiles(
        str(csv), **LABELS, exclusions_csv=str(AVA / "ava_val_excluded_timestamps_v2.2.csv")
    )
    start = time.process_time()
    dataset_dicts = load_ava(files)
    assert time.process_time() - start < 20  # about 1.5 s; the margin is for slow machines
    assert len(dataset_dicts) == 50_029
    annotations = [a for record in dataset_dicts for a in record["annotations"]]
    assert len(annotations) == 93_393
    assert sum(len(a["actions"]) for a in annotations) == 93_400
    assert max(len(record["annotations"]) for record in dataset_dicts) == 12
    counts = np.bincount([action for a in annotations for action in a["actions"]])
    assert counts.tolist() == [
        2410, 19, 929, 1476, 88, 326, 72, 1878, 452, 997, 29147, 43400, 34, 12172,
    ]  # fmt: skip
