import csv
import fcntl
import hashlib
import shutil
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "datasets"))

import make_toy_ava as generator
from toy_ava import film as films
from toy_ava import motion
from toy_ava.film import Film

_POSES = {3, 5, 6, 12, 14}
_ARGUMENTS = {"seed": 3, "train_videos": 2, "val_videos": 1}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    output = tmp_path_factory.mktemp("toy set") / "ava"
    assert generator.make_toy_ava(output, **_ARGUMENTS, jobs=2)
    return output


def _rows(root, split):
    with open(root / "annotations" / f"ava_{split}_v2.1.csv", newline="") as file:
        return list(csv.reader(file))


def _lines(root, name):
    return (root / "annotations" / name).read_text().splitlines()


def _decode(path):
    with av.open(str(path)) as container:
        return [
            (f.time, f.key_frame, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)
        ]


def _contents(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_rows_have_the_official_format(toy):
    info = {line.split(",")[0] for line in _lines(toy, "video_info.csv")[1:]}
    assert _lines(toy, "video_info.csv")[0] == "video_id,height,width,fps,start_second,num_frames"
    assert _lines(toy, "ava_included_timestamps_v2.1.txt") == [f"{s:04d}" for s in range(902, 914)]
    for split, count in (("train", 2), ("val", 1)):
        names = _lines(toy, f"ava_file_names_{split}_v2.1.txt")
        assert len(names) == count
        rows = _rows(toy, split)
        assert {f"{row[0]}.mp4" for row in rows} == set(names)
        for row in rows:
            assert len(row) == 8 and len(row[0]) == 11 and row[0] in info
            assert len(row[1]) == 4 and 902 <= int(row[1]) <= 913
            assert all(len(edge.split(".")[1]) == 3 for edge in row[2:6])
            x1, y1, x2, y2 = map(float, row[2:6])
            assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1


def test_each_box_has_one_pose_and_waves_only_upright(toy):
    actions = defaultdict(list)
    people = defaultdict(set)
    for row in _rows(toy, "train") + _rows(toy, "val"):
        actions[tuple(row[:6])].append(int(row[6]))
        people[tuple(row[:6])].add(row[7])
    assert all(len(ids) == 1 for ids in people.values())
    for ids in actions.values():
        assert len(_POSES.intersection(ids)) == 1
        assert set(ids) - _POSES <= {69}
        assert 69 not in ids or {12, 14}.intersection(ids)
    assert any(69 in ids for ids in actions.values())


def test_label_maps_are_the_real_ones(toy):
    evaluated = (
        toy / "annotations" / "ava_action_list_v2.1_for_activitynet_2018.pbtxt"
    ).read_text()
    assert evaluated.count("item {") == 60
    for action in _POSES | {69}:
        assert f"  id: {action}\n" in evaluated
    assert (toy / "annotations" / "ava_action_list_v2.1.pbtxt").read_text().count("label_id:") == 80


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_excluded_and_one_empty_key_frame(toy, split):
    (excluded,) = _lines(toy, f"ava_{split}_excluded_timestamps_v2.1.csv")
    annotated = {tuple(row[:2]) for row in _rows(toy, split)}
    assert tuple(excluded.split(",")) not in annotated
    ids = [name[:-4] for name in _lines(toy, f"ava_file_names_{split}_v2.1.txt")]
    everything = {(i, f"{s:04d}") for i in ids for s in range(902, 914)}
    without_rows = everything - annotated - {tuple(excluded.split(","))}
    assert len(without_rows) == 1
    ((video_id, second),) = without_rows
    frames = _decode(toy / "videos" / f"{video_id}.mp4")
    key = (int(second) - 900) * 15
    # Nobody moves and the background has no sharp edges.
    clip = np.stack([frames[i][2] for i in range(key - 7, key + 7)]).astype(int)
    # A handful of pixels flicker with the codec; a figure covers hundreds.
    assert np.percentile(np.abs(clip - clip[7]), 99.9) < 12
    assert np.abs(np.diff(clip[7].sum(axis=-1), axis=1)).max() < 60


def test_videos_are_h264_at_15_fps_with_close_key_pictures(toy):
    paths = sorted((toy / "videos").iterdir())
    assert len(paths) == 3
    with av.open(str(paths[0])) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in ("h264", "mpeg4")
        assert stream.average_rate == Fraction(15)
        assert (stream.width, stream.height) == (96, 96)
    frames = _decode(paths[0])
    assert len(frames) == 225
    assert np.allclose([f[0] for f in frames], np.arange(225) / 15, atol=1e-3)
    keys = [i for i, frame in enumerate(frames) if frame[1]]
    assert max(np.diff(keys)) <= 8


def test_the_same_arguments_give_the_same_files_with_any_number_of_processes(toy, tmp_path):
    generator.make_toy_ava(tmp_path / "again", **_ARGUMENTS, jobs=1)
    assert _contents(tmp_path / "again") == _contents(toy)


def test_the_set_stays_as_it_was(toy):
    arguments = '{"seed": 3, "train_videos": 2, "val_videos": 1, "generator_version": 1}'
    assert (toy / "README.txt").read_text().splitlines()[-1] == arguments
    files = sorted(p for p in (toy / "annotations").iterdir() if p.suffix in (".csv", ".txt"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    assert len(files) == 8
    assert digest == "fb0ddcfe548b355096f6dc712dc43a8eccf848d484f7c9f4ce9ffdd6ca368e1d"


def test_another_seed_gives_other_videos(toy):
    assert generator._video_ids(3, 3) != generator._video_ids(3, 4)
    first, second = (next(Film(np.random.default_rng(s)).frames()) for s in (0, 1))
    assert np.abs(first.astype(int) - second).mean() > 2


def test_a_finished_set_is_reused_and_nothing_else_is_touched(toy, tmp_path, capsys):
    before = {p: p.stat().st_mtime_ns for p in toy.rglob("*")}
    options = ["--seed", "3", "--train-videos", "2", "--val-videos", "1", "--jobs", "1"]
    assert generator.main(["--output", str(toy), *options]) == 0
    assert "Reusing" in capsys.readouterr().out
    assert generator.main(["--output", str(toy), *options, "--seed", "4"]) == 2
    assert "something else" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in toy.rglob("*")} == before

    (tmp_path / "mine.txt").write_text("mine")
    assert generator.main(["--output", str(tmp_path), *options]) == 2
    assert "mine.txt" in {p.name for p in tmp_path.iterdir()}
    assert str(tmp_path) in capsys.readouterr().err
    assert generator.main(["--output", str(tmp_path / "mine.txt"), *options]) == 2


def test_a_set_with_a_missing_video_is_reported(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "ava")
    victim = min((tmp_path / "ava" / "videos").iterdir())
    victim.unlink()
    with pytest.raises(generator.OutputError, match=victim.name):
        generator.make_toy_ava(tmp_path / "ava", **_ARGUMENTS)


def test_an_interrupted_set_is_made_again(toy, tmp_path, monkeypatch):
    output = tmp_path / "ava"

    def break_off(folder, *_):
        (folder / "videos").mkdir()
        (folder / "videos" / "half.mp4").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generator, "_write_data_set", break_off)
        with pytest.raises(KeyboardInterrupt):
            generator.make_toy_ava(output, **_ARGUMENTS)
    assert not output.exists()
    assert generator.make_toy_ava(output, **_ARGUMENTS, jobs=1)
    assert [p.name for p in tmp_path.iterdir()] == ["ava"]
    assert _contents(output) == _contents(toy)


def test_two_processes_do_not_write_the_same_set(tmp_path):
    unfinished = tmp_path / ".ava.unfinished"
    unfinished.mkdir()
    with open(unfinished / generator._LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(generator.OutputError, match="Another process"):
            generator.make_toy_ava(tmp_path / "ava", **_ARGUMENTS)


def test_a_stranger_with_the_unfinished_name_is_left_alone(tmp_path):
    unfinished = tmp_path / ".ava.unfinished"
    unfinished.mkdir()
    (unfinished / "mine.txt").write_text("mine")
    with pytest.raises(generator.OutputError, match="not written by this program"):
        generator.make_toy_ava(tmp_path / "ava", **_ARGUMENTS)
    assert (unfinished / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["seed", "train_videos", "val_videos", "jobs"])
def test_arguments_are_checked(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        generator.make_toy_ava(tmp_path / "ava", **{name: -1})


def test_class_shares():
    counts, boxes = Counter(), 0
    for index in range(16):
        for _, _, ids, _ in Film(np.random.default_rng(index)).annotations():
            counts.update(ids)
            boxes += 1
    assert boxes > 200
    assert min(counts[pose] for pose in _POSES) >= 0.12 * boxes
    assert counts[69] >= 0.25 * boxes


def test_boxes_are_tight_around_what_is_drawn():
    checked = 0
    for index in range(6):
        film = Film(np.random.default_rng(index))
        frames = list(film.frames())
        boxes = defaultdict(list)
        for second, box, _, _ in film.annotations():
            boxes[second].append(box)
        for second, (box, *others) in boxes.items():
            if others:
                continue
            background = films.cv2.resize(
                film._shot_of_second[second].background,
                (96, 96),
                interpolation=films.cv2.INTER_AREA,
            )
            difference = np.abs(frames[(second - 900) * 15].astype(int) - background).max(axis=-1)
            ys, xs = np.nonzero(difference > 20)
            drawn = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert np.abs(np.multiply(box, [96, 96, 96, 96]) - drawn).max() <= 1.5
            checked += 1
    assert checked >= 10


def _performance(action, waves=False, seed=0):
    rng = np.random.default_rng(seed)
    return motion.perform(action, waves, x=64.0, speed=20.0, facing=-1, rng=rng)


def test_getting_up_is_falling_down_backwards():
    fall, get_up = _performance(motion.FALL_DOWN), _performance(motion.GET_UP)
    for time in (-0.4, -0.1, 0.0, 0.2, 0.4):
        assert fall.pose(time) == get_up.pose(-time)
    assert abs(fall.pose(0.5).tilt) > 1.4 and abs(fall.pose(-0.5).tilt) < 0.1


def test_standing_is_frozen_and_waving_moves_one_arm():
    times = np.arange(-8, 8) / 15
    for seed in range(8):
        assert len({_performance(motion.STAND, seed=seed).pose(t) for t in times}) == 1
        poses = np.array([_performance(motion.STAND, waves=True, seed=seed).pose(t) for t in times])
        moving = np.flatnonzero(np.ptp(poses, axis=0) > 0)
        assert len(moving) == 1
        assert np.ptp(poses[:, moving[0]]) > 1.0


def test_walkers_move_at_their_speed_and_crouchers_bend_their_knees():
    walk = _performance(motion.WALK)
    assert walk.pose(0.5).x - walk.pose(-0.5).x == pytest.approx(-20.0)
    times = np.linspace(-0.5, 0.5, 50)
    crouches = [_performance(motion.CROUCH).pose(t) for t in times]
    assert max(p.knee_near for p in crouches) > 1.5


def test_a_standing_figure_can_look_like_any_moving_one():
    frozen_from = {_performance(motion.STAND, seed=seed).frozen_from for seed in range(30)}
    assert frozen_from == {motion.WALK, motion.CROUCH}
