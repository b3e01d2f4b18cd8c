from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.cli.running import run_command
from tubedet.data import AVAFiles, register_ava
from tubedet.inference.writers import VideoWriter

_ROOT = Path(__file__).resolve().parents[2]
_LABEL_MAPS = _ROOT / "tubedet" / "data" / "datasets" / "label_maps"
_SMALL_CLIPS = (
    *("INPUT.CLIP.NUM_FRAMES", "8", "INPUT.CLIP.FPS", "10.0", "INPUT.CLIP.CROP_SHORT_SIDE", "0"),
    *("INPUT.MIN_SIZE_TRAIN", "(48,)", "INPUT.CLIP.HSV_JITTER", "(0, 0, 0)"),
)


@pytest.fixture
def data_set(tmp_path):
    """Name of a data set with one video of 5 seconds, grey level 10 * second, 4 key frames."""
    with VideoWriter(tmp_path / "media" / "film.mp4", 10) as writer:
        for index in range(50):
            writer.write(np.full((80, 120, 3), 10 * (index // 10) + 20, np.uint8))
    (tmp_path / "gt.csv").write_text(
        "film,0901,0.250,0.250,0.750,0.750,12,0\n"
        "film,0901,0.250,0.250,0.750,0.750,69,0\n"
        "film,0902,0.250,0.250,0.750,0.750,14,0\n"
        "film,0903,0.250,0.250,0.750,0.750,14,0\n"
        "film,0904\n"
    )
    name = f"visualize_data_{tmp_path.name}"
    files = AVAFiles(
        groundtruth_csv=str(tmp_path / "gt.csv"),
        action_list=str(_LABEL_MAPS / "ava_action_list_v2.1.pbtxt"),
        label_map=str(_LABEL_MAPS / "ava_action_list_v2.1_for_activitynet_2018.pbtxt"),
        videos_dir=str(tmp_path / "media"),
        frames_dir=str(tmp_path / "none"),
        fps=10.0,
    )
    register_ava(name, files)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def _run(name, output, *options):
    return run_command(
        "visualize", ["--config-file", "", "--dataset", name, "--output", str(output), *options]
    )


def test_key_frames_are_drawn_as_png(data_set, tmp_path, capsys):
    assert _run(data_set, tmp_path / "out", "--limit", "0") == 0
    assert f"{data_set}: 4 drawings" in capsys.readouterr().out
    folder = tmp_path / "out" / data_set
    assert sorted(p.name for p in folder.iterdir()) == [
        f"film_{second:04d}.png" for second in (901, 902, 903, 904)
    ]
    drawn, empty = (cv2.imread(str(folder / f"film_{s:04d}.png")) for s in (902, 904))
    assert drawn.shape == (320, 480, 3)
    assert np.abs(drawn[160, 240].astype(int) - 40).max() <= 3
    # The left edge of the box is coloured, and nothing is drawn where nobody is.
    assert np.ptp(drawn[200, 118:123].max(axis=0).astype(int)) > 50
    assert np.abs(empty.astype(int) - 60).max() <= 3


def test_the_limit_spreads_evenly(data_set, tmp_path):
    assert _run(data_set, tmp_path / "out", "--limit", "2") == 0
    names = sorted(p.name for p in (tmp_path / "out" / data_set).iterdir())
    assert names == ["film_0901.png", "film_0904.png"]


def test_augmented_clips_are_drawn_as_mp4(data_set, tmp_path):
    assert _run(data_set, tmp_path / "out", "--limit", "2", "--augmented", *_SMALL_CLIPS) == 0
    with av.open(str(tmp_path / "out" / data_set / "film_0901.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    # 8 frames at 5 a second; the key frame stays for a second.
    assert len(frames) == 8 - 1 + 5
    coloured = [np.ptp(frame.astype(int), axis=-1).max() > 60 for frame in frames]
    assert coloured == [False] * 4 + [True] * 5 + [False] * 3


def test_earlier_drawings_are_replaced_only_if_asked(data_set, tmp_path, capsys):
    path = tmp_path / "out" / data_set / "film_0901.png"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert _run(data_set, tmp_path / "out") == 2
    assert str(path) in capsys.readouterr().err and path.read_text() == "mine"
    assert _run(data_set, tmp_path / "out", "--overwrite") == 0
    assert cv2.imread(str(path)) is not None


def test_a_missing_video_is_an_error_with_its_name(data_set, tmp_path, capsys):
    (tmp_path / "media" / "film.mp4").unlink()
    assert _run(data_set, tmp_path / "out") == 2
    assert "film" in capsys.readouterr().err


def test_the_split_chooses_the_data_sets_of_the_config(data_set, tmp_path):
    options = ["--config-file", "", "--output", str(tmp_path / "out"), "--limit", "1"]
    names = ["DATASETS.TRAIN", "()", "DATASETS.TEST", f"('{data_set}',)"]
    assert run_command("visualize", [*options, "--split", "test", *names]) == 0
    assert len(list((tmp_path / "out" / data_set).iterdir())) == 1


@pytest.fixture
def own_data(tmp_path, data_set):
    """Path of the yaml of a data set of one person in all 50 frames of the same video."""
    rows = [f"film,{n},{n},20,{n + 40},60,1,0\n" for n in range(1, 51)]
    (tmp_path / "own.csv").write_text("".join(rows))
    path = tmp_path / "own.yaml"
    path.write_text(
        "videos: media\nannotations: own.csv\nclasses: [walk]\nfps: 25\n"
        "boxes: pixels\ntimestamps: frames\n"
    )
    yield str(path)
    if str(path) in DatasetCatalog.list():
        DatasetCatalog.remove(str(path))
        MetadataCatalog.remove(str(path))


def test_own_data_are_drawn_at_their_frames(own_data, tmp_path):
    assert _run(own_data, tmp_path / "out", "--limit", "2") == 0
    folder = tmp_path / "out" / "own"
    assert sorted(p.name for p in folder.iterdir()) == ["film_f00001.png", "film_f00050.png"]
    # The last frame of the video, grey level 60, whatever rate the yaml says; drawn 4 times larger.
    last = cv2.imread(str(folder / "film_f00050.png")).astype(int)
    assert np.abs(last[20, 20] - 60).max() <= 3
    assert np.ptp(last[120:200, 198:203].max(axis=1), axis=-1).min() > 50


def test_tubes_are_drawn_in_every_frame(own_data, tmp_path):
    options = ("--limit", "1", "--augmented", *_SMALL_CLIPS, "MODEL.NUM_ACTIONS", "1")
    assert _run(own_data, tmp_path / "out", *options) == 0
    with av.open(str(tmp_path / "out/own/film_f00001.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert all(np.ptp(frame.astype(int), axis=-1).max() > 60 for frame in frames)


def test_another_number_of_actions_is_an_error(own_data, tmp_path, capsys):
    assert _run(own_data, tmp_path / "out", "--augmented", *_SMALL_CLIPS) == 2
    assert "has 1 actions, MODEL.NUM_ACTIONS is 80" in capsys.readouterr().err
