"""Data sets with ``timestamps: frames``: the frame of that number is read and checked."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.cli.visualize import _draw_key_frames
from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.datasets.custom import ensure_registered
from tubedet.data.validation import media_checks
from tubedet.data.validation.media_checks import check_media
from tubedet.data.video.reader import VideoError

NUM_FRAMES = 240
# 25 frames per second with one pause of 0.4 s, as of a phone that drops ten frames.
PAUSE = [i / 25 + (0.4 if i >= 120 else 0) for i in range(NUM_FRAMES)]
VIDEOS = {
    "vfr_frame_numbers": ("v.mp4", {"times": PAUSE, "b_frames": 2}),
    "vfr_frame_numbers in mkv": ("v.mkv", {"times": PAUSE}),
    "mpg_random_access": ("v.mpg", {"codec": "mpeg2video", "b_frames": 2, "rate": 25}),
    "h264 with b-frames in avi": ("v.avi", {"b_frames": 3, "rate": 25}),
}


@pytest.fixture
def key_frames(tmp_path, write_video):
    """Function that writes a data set of one video with a box in every 7th frame."""
    names = []

    def make(file_name, options, numbers=range(1, NUM_FRAMES + 1, 7)):
        (tmp_path / "videos").mkdir()
        write_video(tmp_path / "videos" / file_name, NUM_FRAMES, **options)
        (tmp_path / "t.csv").write_text("".join(f"v,{n},10,10,60,40,1,0\n" for n in numbers))
        (tmp_path / "t.yaml").write_text(
            "videos: videos\nannotations: t.csv\nclasses: [a]\nfps: 25\ntimestamps: frames\n"
            "boxes: pixels\n"
        )
        name = str(tmp_path / "t.yaml")
        ensure_registered(name)
        names.append(name)
        return DatasetCatalog.get(name)

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def make_mapper(is_train=False):
    return ClipDatasetMapper(
        is_train, augmentations=[], num_frames=8, frame_stride=1, fps=25, num_actions=1
    )


@pytest.mark.parametrize("fault", VIDEOS)
def test_the_stored_frame_of_that_number_is_read(key_frames, numbers_in, fault):
    records = key_frames(*VIDEOS[fault])
    mapper = make_mapper()
    for record in np.random.default_rng(0).permutation(records):
        key = record["frame_number"] - 1
        clip = mapper(dict(record))["clip"].permute(1, 2, 3, 0).numpy()
        expected = np.arange(key - 4, key + 4).clip(0, NUM_FRAMES - 1)
        assert numbers_in(clip) == expected.tolist()
    assert len(records) == 35


@pytest.mark.parametrize("fault", VIDEOS)
def test_validation_agrees(key_frames, fault):
    records = key_frames(*VIDEOS[fault])
    problems = check_media(records, every_key_frame=True)
    expected = [("warning", "slow-media")] if fault.endswith("avi") else []
    assert [(problem.severity, problem.kind) for problem in problems] == expected
    assert [problem.kind for problem in check_media(records)] == [kind for _, kind in expected]


@pytest.mark.parametrize("by_number", [True, False])
def test_validation_names_videos_whose_frames_are_not_found(key_frames, monkeypatch, by_number):
    records = key_frames(*VIDEOS["vfr_frame_numbers"], numbers=[50, 100, 101, 200])
    if not by_number:
        for record in records:
            record["timestamp"] = PAUSE[record.pop("frame_number") - 1]
            record["start_second"] = 0.0
    assert check_media(records, every_key_frame=True) == []
    read = media_checks.read_key_frame

    def read_one_too_late(reader, record):
        if by_number and record["frame_number"] in (100, 101):
            record = {**record, "frame_number": record["frame_number"] + 1}
        elif record["timestamp"] in (PAUSE[99], PAUSE[100]):
            record = {**record, "timestamp": record["timestamp"] + 0.04}
        return read(reader, record)

    monkeypatch.setattr(media_checks, "read_key_frame", read_one_too_late)
    (problem,) = check_media(records, every_key_frame=True)
    assert problem.file.endswith("v.mp4") and problem.kind == "wrong-frame"
    assert problem.message == (
        f"key frame {100 if by_number else 3.96} is not found exactly; convert the video to mp4 "
        "(and 1 more of its key frames)"
    )


@pytest.mark.parametrize("every", [True, False])
def test_a_key_frame_behind_the_end_is_an_error(key_frames, every):
    # One frame behind the last one is not that one.
    records = key_frames(*VIDEOS["vfr_frame_numbers"], numbers=[1, NUM_FRAMES + 1])
    (problem,) = check_media(records, every_key_frame=every)
    assert problem.kind == "media"
    assert problem.message == "no frame number 241: the video has 240 frames"
    with pytest.raises(VideoError, match="no frame number 241: the video has 240 frames"):
        make_mapper()(dict(records[1]))


def test_boxes_around_the_key_frame_are_those_of_the_shown_frames(key_frames):
    records = key_frames(*VIDEOS["vfr_frame_numbers"], numbers=[237, 238, 239, 240])
    instances = make_mapper(is_train=True)(dict(records[2]))["instances"]
    # Slots show the frames 235 to 240, and 240 twice more.
    has_box = instances.gt_tubes.isfinite().all(-1).tolist()
    assert has_box == [[False, False, True, True, True, True, True, True]]


def test_drawings_show_the_numbered_frame(key_frames, numbers_in, tmp_path):
    record = key_frames(*VIDEOS["vfr_frame_numbers"], numbers=[200])[0]

    class Visualizer:
        def draw_annotations(self, frame, annotations):
            return frame

    _draw_key_frames()(tmp_path / "drawn.png", record, Visualizer())
    assert numbers_in(cv2.imread(str(tmp_path / "drawn.png"))[None]) == [199]
