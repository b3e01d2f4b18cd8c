from xml.etree import ElementTree

import pytest

from tubedet.web.timeline import ActionSpan, action_spans, draw_timeline

SVG = "{http://www.w3.org/2000/svg}"


def key_frame(time, *persons):
    return {
        "time": time,
        "persons": [
            {"id": number, "actions": [{"name": name, "score": score} for name, score in actions]}
            for number, actions in persons
        ],
    }


KEY_FRAMES = [
    key_frame(0.0, (4, [("walk", 0.6), ("talk", 0.9)])),
    key_frame(0.5, (4, [("walk", 0.8), ("talk", 0.2)]), (7, [("sit", 0.1)])),
    key_frame(1.0, (4, [("walk", 0.7)]), (9, [("sit", 0.5)])),
    key_frame(1.5),
    key_frame(2.0, (4, [("walk", 0.5)])),
]


def test_spans():
    spans = action_spans(KEY_FRAMES, every=0.5, duration=2.1, threshold=0.5)
    assert spans == {
        4: {
            "walk": [ActionSpan(0.0, 1.25, 0.8), ActionSpan(1.75, 2.1, 0.5)],
            "talk": [ActionSpan(0.0, 0.25, 0.9)],
        },
        9: {"sit": [ActionSpan(0.75, 1.25, 0.5)]},
    }
    assert list(spans) == [4, 9] and list(spans[4]) == ["walk", "talk"]
    assert action_spans([], every=1, duration=1, threshold=0) == {}


def draw(spans, duration):
    colors = {4: "rgb(1, 2, 3)", 9: "rgb(9, 9, 9)"}
    svg = draw_timeline(spans, duration=duration, color=colors.get, video_selector="#a video")
    # In a html page the namespace goes without saying.
    root = ElementTree.fromstring(svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"'))
    return svg, root


def test_drawing():
    spans = action_spans(KEY_FRAMES, every=0.5, duration=2.1, threshold=0.5)
    _, root = draw(spans, 2.1)
    bars = [bar for bar in root.iter(f"{SVG}rect") if "data-start" in bar.attrib]
    assert [float(bar.attrib["data-start"]) for bar in bars] == [0, 1.75, 0, 0.75]
    assert [bar.attrib["fill"] for bar in bars] == ["rgb(1, 2, 3)"] * 3 + ["rgb(9, 9, 9)"]
    assert bars[0].find(f"{SVG}title").text == "walk, 0:00 to 0:01.2, score up to 0.80"
    left, width = (float(bars[0].attrib[key]) for key in ("x", "width"))
    assert float(bars[1].attrib["x"]) == pytest.approx(left + width * 1.75 / 1.25, abs=0.02)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[-5:] == ["Person #4", "walk", "talk", "Person #9", "sit"]
    height = float(root.attrib["viewBox"].split()[3])
    assert all(float(bar.attrib["y"]) + 18 <= height for bar in bars)
    assert "document.querySelector('#a video')" in root.attrib["onclick"]


@pytest.mark.parametrize(
    "duration, ticks",
    [
        (0.25, ["0:00", "0:00.1", "0:00.2"]),
        (2.1, ["0:00", "0:00.5", "0:01", "0:01.5", "0:02"]),
        (125, ["0:00", "0:15", "0:30", "0:45", "1:00", "1:15", "1:30", "1:45", "2:00"]),
        (3700, ["0:00", "10:00", "20:00", "30:00", "40:00", "50:00", "60:00"]),
    ],
)
def test_axis(duration, ticks):
    _, root = draw({}, duration)
    assert [text.text for text in root.iter(f"{SVG}text")] == ticks


def test_names_are_escaped():
    name = '<script>alert(1)</script> & "x"'
    svg, root = draw({4: {name: [ActionSpan(0, 1, 0.5)]}}, 1.0)
    assert "<script" not in svg
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert titles[0] == name and titles[1].startswith(name)
