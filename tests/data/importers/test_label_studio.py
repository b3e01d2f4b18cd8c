import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_damage import damaged_bytes, damaged_json, dumps, fuzz

from tubedet.cli.running import run_command
from tubedet.data.annotations.text import AnnotationError
from tubedet.data.datasets.custom import load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.label_studio import read_label_studio
from tubedet.data.importers.labels import ImportOptions
from tubedet.data.importers.selection import select


def key_frame(frame, x=10.0, y=20.0, width=30.0, height=40.0, *, enabled=True, **others):
    place = {"x": x, "y": y, "width": width, "height": height}
    return {"frame": frame, "enabled": enabled, "rotation": 0, **place, **others}


def region(*key_frames, labels=("run",), name="r1", frames=10, duration=None, **others):
    duration = frames / 10 if duration is None else duration
    value = {"framesCount": frames, "duration": duration, "sequence": list(key_frames)}
    return {
        "id": name,
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "value": value | ({"labels": list(labels)} if labels else {}),
        **others,
    }


def task(*results, video="/data/upload/1/0a1b2c3d-gym.mp4", **others):
    annotation = {"id": 7, "was_cancelled": False, "ground_truth": False, "result": list(results)}
    return {"id": 1, "data": {"video": video}, "annotations": [annotation], **others}


def run(tmp_path, content, *options, fps="10"):
    (tmp_path / "videos").mkdir(exist_ok=True)
    path = tmp_path / "ls.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    arguments = ["label-studio", str(path), "--videos", str(tmp_path / "videos")]
    arguments += ["--output", str(tmp_path / "my.yaml"), *(("--fps", fps) if fps else ())]
    return run_command("import", [*arguments, *options])


def rows(tmp_path):
    return (tmp_path / "my.csv").read_text().splitlines()


def test_import_label_studio_task_that_had_no_importer(tmp_path, capsys):
    # Key frames in every frame, no id of a rate or a length, as DagsHub writes them.
    sequence = [
        key_frame(number, 5.0 + number, 13.888889, 2.5, 11.0, time=round(number / 30, 3))
        for number in range(1, 6)
    ]
    for entry in sequence:
        del entry["rotation"]
    results = []
    for name, label in (("track_person_1", "person"), ("track_car_2", "car")):
        result = region(*sequence, labels=[label], name=name)
        del result["value"]["framesCount"], result["value"]["duration"]
        results.append(result | {"original_width": 1920, "original_height": 1080})
    content = task(*results, video="/data/upload/test_video.mp4")
    assert run(tmp_path, content, "--ignore", "car", fps="30") == 0
    assert rows(tmp_path) == [
        f"test_video,{n},{(5 + n) / 100:.7g},0.1388889,{(7.5 + n) / 100:.7g},0.2488889,1,0"
        for n in range(1, 6)
    ]
    own = read_custom_yaml(tmp_path / "my.yaml")
    assert (own.classes, own.timestamps, own.boxes) == ({1: "person"}, "frames", "fractions")
    said = capsys.readouterr().out
    assert "tracks without an end, in videos of unknown length: end at a key frame (2)" in said


def test_between_key_frames_boxes_move(tmp_path, write_video, capsys):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/gym.mp4", num_frames=10, rate=10)
    track = region(
        key_frame(2),
        key_frame(4, x=14, enabled=False),
        key_frame(7, enabled=False),
        key_frame(9, x=20, width=10),
    )
    second = region(key_frame(10, labels=("wave",)), labels=["wave", "run"], name="r2")
    assert run(tmp_path, [task(track, second)], fps=None) == 0
    # Frame 7 has a key frame; nobody is seen at 5, 6, 8, nor at 1. The last box stays.
    assert rows(tmp_path) == [
        "gym,1",
        "gym,2,0.1,0.2,0.4,0.6,1,0",
        "gym,3,0.12,0.2,0.42,0.6,1,0",
        "gym,4,0.14,0.2,0.44,0.6,1,0",
        "gym,5",
        "gym,6",
        "gym,7,0.1,0.2,0.4,0.6,1,0",
        "gym,8",
        "gym,9,0.2,0.2,0.3,0.6,1,0",
        "gym,10,0.2,0.2,0.3,0.6,1,0",
        "gym,10,0.1,0.2,0.4,0.6,1,1",
        "gym,10,0.1,0.2,0.4,0.6,2,1",
    ]
    own = read_custom_yaml(tmp_path / "my.yaml")
    tubes = load_tubes(own)["gym"].tubes
    assert [(t.person_id, t.label, t.frames.tolist()) for t in tubes] == [
        (0, 0, [2, 3, 4]),
        (0, 0, [7]),
        (0, 0, [9, 10]),
        (1, 0, [10]),
        (1, 1, [10]),
    ]
    said = capsys.readouterr().out
    assert "the video of '0a1b2c3d-gym.mp4' is taken to be 'gym' (1)" in said
    assert "frames without a box: taken as moments with nobody (4)" in said
    assert "tracks without an end: kept to the end of the video, as the editor does (1)" in said
    assert run_command("validate", ["--dataset", str(tmp_path / "my.yaml"), "--media"]) == 0


def test_frames_that_were_counted_at_another_rate(tmp_path, write_video, capsys):
    # Label Studio counts 24 frames a second where nobody says another frameRate: 2 seconds.
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/gym.mp4", num_frames=60, rate=30)
    track = region(key_frame(1), key_frame(48, enabled=False), frames=48, duration=2.0)
    assert run(tmp_path, task(track), fps=None) == 0
    frames = [int(row.split(",")[1]) for row in rows(tmp_path)]
    # Frame n of 24 is shown at (n - 0.5) / 24 s: stored frame floor((n - 0.5) * 30 / 24) + 1.
    assert frames[:6] == [1, 2, 4, 5, 6, 7] and frames[-1] == 60 and len(frames) == 48
    said = capsys.readouterr().out
    assert "frames of 'gym' are counted at 24 per second, the video has 30" in said
    # The same rate: as they stand; the last one does not exist, lengths are rounded up.
    track = region(key_frame(1), frames=61, duration=2.01)
    assert run(tmp_path, task(track), "--overwrite", fps=None) == 0
    assert [int(row.split(",")[1]) for row in rows(tmp_path)] == list(range(1, 61))
    assert "frames behind the end of the video: left out (1)" in capsys.readouterr().out


def test_a_rate_by_the_times_of_key_frames(tmp_path, capsys):
    track = region(key_frame(24, time=1.0), key_frame(48, enabled=False, time=2.0))
    del track["value"]["duration"], track["value"]["framesCount"]
    assert run(tmp_path, task(track), fps="12") == 0
    # At half the rate two of its frames are the same stored frame: it is taken once.
    frames = [int(row.split(",")[1]) for row in rows(tmp_path)]
    assert frames == list(range(12, 25))
    assert "counted at 24 per second, the video has 12" in capsys.readouterr().out


def test_times_of_key_frames_are_more_exact_than_a_length_that_was_rounded_up(tmp_path, capsys):
    def said(time):
        track = region(key_frame(5, enabled=False, time=time), frames=48, duration=1.97)
        assert run(tmp_path, task(track), "--overwrite", fps="100") == 0
        return capsys.readouterr().out

    assert "counted at 24 per second" in said(5 / 24)
    # Another program measures from the first frame on.
    assert "counted at 24.365 per second" in said(4 / 24)


def test_rates_of_several_videos(tmp_path, capsys):
    names = ("gym", "hall")
    tasks = [
        task(region(key_frame(40, enabled=False), frames=40, duration=2.0), video=f"{name}.mp4")
        for name in names
    ]
    assert run(tmp_path, tasks) == 0
    boxes = [row for row in rows(tmp_path) if row.count(",") > 1]
    assert boxes == [f"{name},20,0.1,0.2,0.4,0.6,1,0" for name in names]
    said = capsys.readouterr().out
    assert all(f"frames of {name!r} are counted at 20 per second" in said for name in names)


def test_choices_of_regions_are_actions(tmp_path, capsys):
    track = region(key_frame(1, enabled=False), labels=["person"])
    choice = {
        "id": "r1",
        "type": "choices",
        "from_name": "action",
        "value": {"choices": ["wave", "run"]},
    }
    whole = {"id": "x", "type": "choices", "from_name": "scene", "value": {"choices": ["hall"]}}
    line = {
        "id": "y",
        "type": "timelinelabels",
        "from_name": "line",
        "value": {"ranges": [{"start": 1, "end": 3}], "timelinelabels": ["jump"]},
    }
    content = task(track, choice, whole, line, predictions=[{"result": []}, {"result": []}])
    assert run(tmp_path, content, "--attribute", "action") == 0
    assert read_custom_yaml(tmp_path / "my.yaml").classes == {1: "run", 2: "wave"}
    assert rows(tmp_path)[:2] == ["gym,1,0.1,0.2,0.4,0.6,1,0", "gym,1,0.1,0.2,0.4,0.6,2,0"]
    said = capsys.readouterr().out
    assert "choices without a box: left out (1)" in said
    assert "timelinelabels without a box: left out (1)" in said
    assert "predictions: left out (2)" in said
    assert run(tmp_path, content, "--overwrite") == 0
    assert read_custom_yaml(tmp_path / "my.yaml").classes == {1: "person"}
    assert "choices of regions: no actions without --attribute action" in capsys.readouterr().out
    assert run(tmp_path, content, "--overwrite", "--attribute", "actoin") == 2
    assert "--attribute actoin: regions have no such control, but action, box" in (
        capsys.readouterr().err
    )


def test_labels_in_a_result_of_their_own(tmp_path):
    track = region(key_frame(1, enabled=False), labels=())
    labels = copy.deepcopy(track) | {"type": "labels", "from_name": "videoLabels"}
    labels["value"]["labels"] = ["wave"]
    assert run(tmp_path, task(labels, track)) == 0
    assert rows(tmp_path)[:2] == ["gym,1,0.1,0.2,0.4,0.6,1,0", "gym,2"]


def test_json_min(tmp_path):
    track = region(key_frame(1), key_frame(2, x=12, enabled=False))["value"]
    item = {"video": "s3://bucket/day/gym.mp4", "box": [track, track], "id": 3, "annotator": 1}
    assert run(tmp_path, [item]) == 0
    assert [row for row in rows(tmp_path) if row.count(",") > 1] == [
        "gym,1,0.1,0.2,0.4,0.6,1,0",
        "gym,1,0.1,0.2,0.4,0.6,1,1",
        "gym,2,0.12,0.2,0.42,0.6,1,0",
        "gym,2,0.12,0.2,0.42,0.6,1,1",
    ]


def test_which_annotation_counts(tmp_path, capsys):
    content = task()
    for number, flags in enumerate(({"was_cancelled": True}, {}, {}, {"ground_truth": True})):
        track = region(key_frame(1, x=number, enabled=False), frames=1)
        content["annotations"].append({"result": [track], **flags})
    del content["annotations"][0]
    assert run(tmp_path, content) == 0
    assert rows(tmp_path) == ["gym,1,0.03,0.2,0.33,0.6,1,0"]
    said = capsys.readouterr().out
    assert "annotations that were cancelled: left out (1)" in said
    assert "tasks with several annotations: the ground truth is taken (1)" in said
    del content["annotations"][-1]
    others = [task(), {"id": 2, "data": {"video": "x.mp4"}, "annotations": []}]
    assert run(tmp_path, [content, *others], "--overwrite") == 0
    assert rows(tmp_path) == ["gym,1,0.01,0.2,0.31,0.6,1,0"]
    said = capsys.readouterr().out
    assert "tasks with several annotations: the first one is taken (1)" in said
    assert "tasks without a track: left out (1)" in said
    assert "tasks without an annotation: left out (1)" in said


def test_tasks_of_the_same_video_do_not_mix_persons(tmp_path):
    first = task(region(key_frame(1, enabled=False), frames=2))
    second = task(region(key_frame(2, x=60, enabled=False), frames=2))
    assert run(tmp_path, [first, second]) == 0
    assert rows(tmp_path) == ["gym,1,0.1,0.2,0.4,0.6,1,0", "gym,2,0.6,0.2,0.9,0.6,1,1"]


def test_turned_boxes_count_with_their_enclosing_box(tmp_path, capsys):
    # 20 x 10 pixels of a frame of 200 x 100 about the corner (100, 50), a quarter clockwise: from
    # x 90 to 100, from y 50 to 70.
    turned = key_frame(1, 50, 50, 10, 10, enabled=False) | {"rotation": 90}
    size = {"original_width": 200, "original_height": 100}
    assert run(tmp_path, task(region(turned, frames=1, **size))) == 0
    assert rows(tmp_path) == ["gym,1,0.45,0.5,0.5,0.7,1,0"]
    assert "turned boxes: their enclosing upright boxes are taken (1)" in capsys.readouterr().out
    # Without the size nothing can be said of that frame, not even that it is empty.
    other = region(key_frame(2, enabled=False), name="r2", frames=2)
    assert run(tmp_path, task(region(turned, frames=2), other), "--overwrite") == 0
    assert rows(tmp_path) == ["gym,2,0.1,0.2,0.4,0.6,1,1"]
    assert "turned boxes, of videos of unknown size: left out" in capsys.readouterr().out


def test_regions_that_are_no_boxes_are_not_nobody(tmp_path, capsys):
    flat = region(key_frame(1, width=0), key_frame(2, enabled=False), frames=4)
    vector = region(frames=4, name="r2") | {"type": "videovector"}
    vector["value"]["sequence"] = [{"frame": 3, "enabled": False, "vertices": []}]
    assert run(tmp_path, task(flat, vector)) == 0
    assert rows(tmp_path) == ["gym,2,0.1,0.2,0.4,0.6,1,0", "gym,4"]
    said = capsys.readouterr().out
    assert "boxes without an area: left out, with their frames (1)" in said
    assert "frames with a region of the type videovector, which is no box: left out (1)" in said


@pytest.mark.parametrize(
    ("url", "stored", "options", "video"),
    [
        ("/data/upload/1/0a1b2c3d-gym.mp4", ["gym.mp4"], (), "gym"),
        ("/data/upload/1/0a1b2c3d-gym.mp4", ["0a1b2c3d-gym.mp4"], (), "0a1b2c3d-gym"),
        ("/data/upload/1/0a1b2c3d-gym.mp4", [], ("--video", "hall"), "hall"),
        ("/data/local-files/?d=day%201/hall.x.mp4", [], (), "hall.x"),
        ("https://host/a%20b.mp4?token=1", [], (), "a b"),
        ("gym.mp4", [], (), "gym"),
    ],
)
def test_names_of_videos(tmp_path, url, stored, options, video):
    (tmp_path / "videos").mkdir()
    for name in stored:
        (tmp_path / "videos" / name).mkdir()  # a folder of frames may be called so, too
    content = task(region(key_frame(1, enabled=False), frames=1), video=url)
    assert run(tmp_path, content, *options) == 0
    assert rows(tmp_path) == [f"{video},1,0.1,0.2,0.4,0.6,1,0"]


GOOD = key_frame(1, enabled=False)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ([task(region(GOOD)), task(region(GOOD))], ("--video", "x"), "several tasks have tracks"),
        (task(region()), (), "tasks without a track: left out (1)"),
        (task(region(GOOD | {"frame": 0})), (), "sequence[0] has the frame 0, expected 1 to"),
        (task(region(GOOD | {"x": "1"})), (), "sequence[0] has the x '1', expected a number"),
        (task(region(GOOD | {"enabled": 1})), (), "has 'enabled' 1, expected true or false"),
        (task(region(GOOD, GOOD | {"x": 3})), (), "sequence[1] has the frame 1, as another"),
        (task(region(GOOD, frames=10**6 + 1)), (), "has the framesCount 1000001, expected up to"),
        (task(region(GOOD, labels=[3])), (), "value.labels[0] is 3, expected a name"),
        (task(region(GOOD), video=""), (), "data has no text as video"),
        (task(region(GOOD)) | {"data": {"url": "x"}}, (), "data has 0 names of videos"),
        (task(GOOD), (), "result[0] has no value"),
        ([], (), "no box of a person with an action"),
    ],
)
def test_errors_name_the_place(tmp_path, capsys, content, options, message):
    assert run(tmp_path, content, *options) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/ls.json: " in error and message in error and error.count("\n") == 1


def test_two_videos_that_could_be_meant(tmp_path, capsys):
    for name in ("gym", "0a1b2c3d-gym"):
        (tmp_path / "videos" / name).mkdir(parents=True)
    content = task(region(GOOD))
    assert run(tmp_path, content) == 2
    assert "has 'gym' and '0a1b2c3d-gym': --video NAME" in capsys.readouterr().err
    assert run(tmp_path, content, "--video", "gym") == 0


@fuzz
@given(data=st.data())
def test_damaged_tasks(tmp_path, data):
    track = region(key_frame(1), key_frame(4, x=12, enabled=False, time=0.4))
    choice = {"id": "r1", "type": "choices", "from_name": "a", "value": {"choices": ["wave"]}}
    minimal = {"video": "hall.mp4", "box": [track["value"]]}
    content = data.draw(damaged_json([task(track, choice, predictions=[]), minimal]))
    text = dumps(content)
    path = tmp_path / "ls.json"
    if data.draw(st.integers(0, 3)) == 0:
        path.write_bytes(data.draw(damaged_bytes(text)))
    else:
        path.write_text(text)
    try:
        select(read_label_studio(path, ImportOptions(videos=tmp_path, attributes=())))
    except AnnotationError as error:
        assert str(path) in str(error) or "video" in str(error)
