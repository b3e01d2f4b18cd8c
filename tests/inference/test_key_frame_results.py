import base64
import dataclasses
import json
import re
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.data import VideoError
from tubedet.errors import UserError
from tubedet.inference import DetectedFrame, DetectedVideo, KeyFrameResult
from tubedet.inference.drawing import ActionVisualizer

NAMES = ("stand", "walk", "<script>alert('sit')</script>")
VIDEO = DetectedVideo('a "film" & <b>', action_names=NAMES)


@pytest.fixture
def raw(key_frames):
    """The first key frame as the model left it, with a row that is not finite."""
    return dataclasses.replace(key_frames[0][0], video=VIDEO)


@pytest.fixture
def followed(key_frames):
    """The same key frame with the persons who were followed, 0 and 1."""
    result, persons = key_frames[0]
    return dataclasses.replace(result, instances=persons, video=VIDEO)


def test_a_result_prints_as_one_short_line(raw):
    assert repr(raw) == ("KeyFrameResult('a \"film\" & <b>', index=0, time=7.000, 3 boxes, 200x50)")
    bare = KeyFrameResult(2, 0.5, raw.instances)
    assert repr(bare) == "KeyFrameResult(index=2, time=0.500, 3 boxes, 200x50)"
    frame = DetectedFrame(3, 0.1, np.zeros((4, 6, 3), np.uint8), bare, raw)
    assert repr(frame) == ("DetectedFrame(index=3, time=0.100, 6x4, before=0.500, after=7.000)")


def test_actions_have_names(raw):
    assert raw.action_names == NAMES
    assert KeyFrameResult(0, 0.0, raw.instances).action_names == (
        "action 1",
        "action 2",
        "action 3",
    )
    wrong = dataclasses.replace(raw, video=DetectedVideo("film", action_names=("stand",)))
    with pytest.raises(UserError, match="3 action scores per person, but 1 action names"):
        wrong.to_rows()


def test_rows_are_actions_of_persons(raw, followed):
    shared = {"video": VIDEO.name, "time": 7.0}
    first = {"x1": 20.0, "y1": 5.0, "x2": 100.0, "y2": 50.0, "person_score": 0.9}
    second = {"x1": 150.0, "y1": 0.0, "x2": 190.123, "y2": 40.0, "person_score": 0.75}
    expected = [
        {**shared, "person_id": 0, **first, "action": NAMES[2], "action_id": 3, "score": 0.5},
        {**shared, "person_id": 0, **first, "action": "stand", "action_id": 1, "score": 0.25},
        {**shared, "person_id": 1, **second, "action": "walk", "action_id": 2, "score": 0.8},
    ]
    rows = followed.to_rows(min_score=0.06)
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row in rows:
        row.update((key, round(v, 5)) for key, v in row.items() if isinstance(v, float))
    assert rows == expected
    # Nobody was followed yet; persons are chosen by their probability.
    assert [row["person_id"] for row in raw.to_rows(min_score=0.06)] == [-1, -1, -1]
    assert len(raw.to_rows(min_score=0.06, person_threshold=0.8)) == 2
    sure = dataclasses.replace(raw, video=dataclasses.replace(VIDEO, person_threshold=0.8))
    assert len(sure.to_rows(min_score=0.06)) == 2


def test_json_is_that_of_the_writer(raw, followed):
    record = json.loads(followed.to_json())
    assert record["time"] == 7.0 and [p["id"] for p in record["persons"]] == [0, 1]
    assert record["persons"][1]["box"] == [150.0, 0.0, 190.12, 40.0]
    for person in record["persons"]:
        del person["id"]
    assert json.loads(raw.to_json()) == record


def test_tables_need_pandas(followed, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"to_dataframe\(\) .* pandas: pip install 'tubedet\[res"):
        followed.to_dataframe()
    made = SimpleNamespace(DataFrame=lambda rows, columns: (rows, columns))
    monkeypatch.setitem(sys.modules, "pandas", made)
    rows, columns = followed.to_dataframe(min_score=0.3)
    assert rows == followed.to_rows(min_score=0.3) and columns == list(rows[0])


def test_detections_of_supervision(raw, followed, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match=r"to_supervision\(\) needs the package supervision: pip"):
        followed.to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    found = followed.to_supervision(score_threshold=0.2, max_actions=2)
    assert found.class_id.tolist() == [2, 0, 1] and found.tracker_id.tolist() == [0, 0, 1]
    assert found.confidence == pytest.approx([0.5, 0.25, 0.8])
    assert found.xyxy[2] == pytest.approx([150, 0, 190.123, 40])
    assert found.data["class_name"].tolist() == [NAMES[2], "stand", "walk"]
    assert found.data["time"].tolist() == [7.0] * 3
    assert raw.to_supervision().tracker_id is None
    nobody = followed.to_supervision(score_threshold=0.9)
    assert nobody.xyxy.shape == (0, 4) and len(nobody.class_id) == 0


def test_the_real_packages_take_what_they_are_given(followed):
    pandas, supervision = pytest.importorskip("pandas"), pytest.importorskip("supervision")
    table = followed.to_dataframe(min_score=0.06)
    assert isinstance(table, pandas.DataFrame) and table["score"].sum() == pytest.approx(1.55)
    assert followed.to_dataframe(min_score=1.0).shape == (0, 11)
    found = followed.to_supervision()
    assert isinstance(found, supervision.Detections) and len(found) == 2
    assert found[found.class_id == 1].data["class_name"].tolist() == ["walk"]
    assert len(followed.to_supervision(score_threshold=0.9)) == 0


def test_a_picture_is_drawn_as_elsewhere(followed):
    image = np.full((50, 200, 3), 90, np.uint8)
    expected = ActionVisualizer(NAMES, max_actions=1).draw_detections(
        image, followed.instances, score_threshold=0.6
    )
    drawn = followed.plot(image, score_threshold=0.6, max_actions=1)
    assert drawn.dtype == np.uint8 and np.array_equal(drawn, expected)
    assert not np.array_equal(drawn, followed.plot(image))  # 0.5: the other person, too
    with pytest.raises(VideoError, match="no file to read its frames from again"):
        followed.plot()
    with pytest.raises(VideoError, match="names no video"):
        dataclasses.replace(followed, video=None).plot()


def test_a_notebook_shows_a_small_picture_and_escaped_text(followed):
    image = np.full((500, 2000, 3), 90, np.uint8)
    shown = dataclasses.replace(followed, image=image)._repr_html_()
    assert "a &quot;film&quot; &amp; &lt;b&gt;, 7.000 s: 2 persons" in shown
    assert "&lt;script&gt;alert(&#x27;sit&#x27;)&lt;/script&gt; 0.50" in shown
    assert "<script" not in shown and "tensor" not in shown and len(shown) < 60_000
    # Nothing but these elements, and the data of the picture.
    assert set(re.findall(r"<(\w+)", shown)) == {
        *("div", "p", "b", "img"),
        *("table", "tr", "th", "td"),
    }
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (320, 1280, 3)  # 640x160, enlarged for readable labels
    assert (np.ptp(picture.astype(int), axis=-1) > 60).mean() > 0.005  # boxes are coloured


def test_a_notebook_says_why_there_is_no_picture(followed):
    shown = followed._repr_html_()
    assert "<img" not in shown and "<p>No picture: a &quot;film&quot; &amp; &lt;b&gt;: no" in shown
    assert "#1</td><td>0.75</td><td>walk 0.80" in shown


def test_long_tables_are_cut():
    instances = Instances(
        (50, 200),
        pred_boxes=Boxes(torch.tensor([[10.0, 10.0, 40.0, 40.0]]).repeat(25, 1)),
        scores=torch.ones(25),
        action_scores=torch.full((25, 3), 0.9),
    )
    shown = KeyFrameResult(0, 0.0, instances)._repr_html_()
    assert shown.count("<tr>") == 21 and "and 5 more" in shown
