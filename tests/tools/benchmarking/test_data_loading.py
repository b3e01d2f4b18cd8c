"""The measured loaders give the same clips, and the figures are complete."""

import argparse
import multiprocessing

import av
import cv2
import numpy as np
import pytest
from benchmarking import data_loading
from benchmarking.media import write_film

from tubedet.data.augmentation import build_clip_augmentations
from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.video.reader import open_video


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    data_loading.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """40 frames 160x96: waves without fine detail that move to the left."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "source").mkdir()
    rows, columns = np.mgrid[:96, :160]
    for number in range(40):
        wave = np.sin((columns + 5 * number) / 15) + np.cos(rows / 20)
        image = np.stack([128 + 60 * wave, 128 - 60 * wave, 128 + 30 * wave], axis=-1)
        cv2.imwrite(str(folder / "source" / f"{number:02d}.png"), image.astype(np.uint8))
    return write_film(folder, width=160, height=96, num_frames=40, gop=10, source=folder / "source")


def test_both_forms_of_a_film_show_the_same(film):
    with open_video(film.video) as video, open_video(film.frames) as frames:
        assert (video.height, video.width, video.fps) == (96, 160, 30)
        times = np.array([0, 13, 39]) / 30
        shown = video.read(times).astype(int), frames.read(times).astype(int)
    assert np.abs(shown[0] - shown[1]).mean() < 4
    assert np.abs(shown[1][0] - shown[1][1]).mean() > 20  # something moves


def test_drawn_film_is_the_same_again(tmp_path):
    films = []
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        (tmp_path / name).mkdir()
        films.append(
            write_film(tmp_path / name, width=64, height=48, num_frames=4, gop=2, seed=seed)
        )
    frames = []
    for film in films:
        with open_video(film.frames) as reader:
            assert (reader.num_frames, reader.height, reader.width) == (4, 48, 64)
            frames.append(reader.read(np.arange(4) / 30))
    assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0], frames[2])
    assert (frames[0][0] != frames[0][1]).any()


def test_film_of_a_source(tmp_path):
    (tmp_path / "source").mkdir()
    for number in range(3):
        image = np.full((30, 40, 3), 80 * number, np.uint8)
        cv2.imwrite(str(tmp_path / "source" / f"{number}.png"), image)
    film = write_film(
        tmp_path, width=64, height=48, num_frames=5, gop=2, source=tmp_path / "source"
    )
    with open_video(film.frames) as frames:
        means = [frame.mean() for _, frame in frames]
    assert means == pytest.approx([0, 80, 160, 0, 80], abs=2)
    with pytest.raises(ValueError, match="must be even"):
        write_film(tmp_path, width=63, height=48, num_frames=5, gop=2)


@pytest.mark.parametrize("storage", ["frames", "video"])
@pytest.mark.parametrize("second", [0.0, 0.7, 1.3])
def test_naive_way_gives_the_same_clip(film, storage, second):
    clip = {"num_frames": 8, "frame_stride": 2, "fps": 30.0}
    augmentations = build_clip_augmentations(is_train=False, short_sides=(48,), max_size=1000)
    mapper = ClipDatasetMapper(
        False, augmentations=augmentations, num_actions=1, min_decoded_side=48, **clip
    )
    record = {"video_id": "film", "video": str(getattr(film, storage)), "timestamp": second}
    record.update(fps=30.0, start_second=0.0, num_frames=film.num_frames)
    ours = mapper(record)["clip"]
    naive = data_loading.NaiveMapper(short_side=48, **clip)(record)["clip"]
    assert ours.shape == naive.shape == (3, 8, 48, 80)
    assert (ours.int() - naive.int()).abs().float().mean() < 1.5


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
def test_naive_way_works_in_a_worker_of_a_process_that_converted_frames(film):
    mapper = data_loading.NaiveMapper(short_side=48, num_frames=2, frame_stride=2, fps=30.0)
    record = {"video": str(film.video), "timestamp": 0.5, "fps": 30.0, "num_frames": 40}
    av.VideoFrame(1280, 720, "yuv420p").reformat(format="rgb24")  # PyAV may keep its threads
    worker = multiprocessing.get_context("fork").Process(target=mapper, args=(record,))
    worker.start()
    worker.join(timeout=30)
    if worker.exitcode is None:
        worker.kill()
        worker.join()
    assert worker.exitcode == 0


def test_every_case_is_measured():
    options = parsed("--sizes", "64x48", "--seconds", "1", "--clips", "3", "--frames", "4")
    options.short_side = 24
    result = data_loading.run(options)
    assert [case["storage"] for case in result["cases"]] == ["jpg folder", "mp4"]
    for case in result["cases"]:
        assert case["film"] == "64x48"
        medians = []
        for name in ("tubedet", "naive"):
            speed = case[name]["clips_per_second"]
            assert len(speed["runs"]) == 2 and speed["min"] > 0
            assert case[name]["private_mb_per_worker"] is None or (
                1 < case[name]["private_mb_per_worker"] <= case[name]["peak_rss_mb_per_worker"]
            )
            assert case[name]["clips_per_cpu_second"]["min"] > 0
            medians.append(speed["median"])
        assert case["ratio"] == pytest.approx(medians[0] / medians[1])
    table = data_loading.table(result)
    assert len(table.splitlines()) == 4 and "naive" in table


def test_training_clips_are_measured_from_films_as_they_are_prepared(tmp_path, monkeypatch):
    items, films = [], []
    passes, write = data_loading._timed_pass, data_loading.write_film

    def noted_pass(mapper, records, num_workers):
        items.append(mapper(records[0]))
        return passes(mapper, records, num_workers)

    def noted_film(*args, **options):
        films.append(write(*args, **options))
        with av.open(str(films[-1].video)) as container:
            kinds = ["?IPB"[int(frame.pict_type)] for frame in container.decode(video=0)]
        assert "B" not in kinds[::2] and set(kinds[1:-1:2]) == {"B"}
        return films[-1]

    monkeypatch.setattr(data_loading, "_timed_pass", noted_pass)
    monkeypatch.setattr(data_loading, "write_film", noted_film)
    for augment, key in (("worker", "clip"), ("device", "frames")):
        options = parsed(
            *("--sizes", "64x48", "--seconds", "1", "--clips", "2", "--frames", "4"),
            *("--as-prepared", "--augment", augment),
        )
        options.short_side = 32
        data_loading.run(options)
        assert key in items[0] and len(films) == 1
        size = (3, 4, 32, 42) if augment == "worker" else (4, 36, 48, 3)
        assert items[0][key].shape == size
        items.clear()
        films.clear()
