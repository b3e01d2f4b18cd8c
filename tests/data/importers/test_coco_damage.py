"""Whatever happens to COCO json, reading it gives labels that can be written, or names the file."""

import copy
import json

import pytest
from coco_samples import COCO_VID, CVAT, TAO, YOUTUBE_VIS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_damage import places

from tubedet.data import AnnotationError
from tubedet.data.importers.coco_video import read_coco_video
from tubedet.data.importers.dataset_writer import write_custom_dataset
from tubedet.data.importers.labels import ImportOptions

SHAPES = {"cocovid": COCO_VID, "cvat": CVAT, "tao": TAO, "youtube-vis": YOUTUBE_VIS}
OTHERS = (
    *(None, True, False, 0, 1, -1, 2, 1.5, 10**7, 2**53, 10**30, 1e300, float("nan"), "", " ", "1"),
    *("a/b", "\ud800", "\0", "..", "/", "٣", [], [None], [1, 2, 3, 4], [[]], [[1, 2]], {}),
    *({"id": 1}, {"size": [2, 2], "counts": "04"}, {"track_id": 0}, {"attributes": [1]}),
)
TOKENS = (b'"', b",", b"]", b"}", b"[", b"{", b"\0", b"\xff", b"1e999", b"NaN", b"9" * 5000, b"-")


@st.composite
def damaged(draw, content):
    """The json after a few random edits of its values, then of its bytes."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(0, 3))):
        *path, key = draw(st.sampled_from(sorted(places(content), key=str)))
        inner = content
        for name in path:
            inner = inner[name]
        edit = draw(st.sampled_from(["replace", "delete", "double", "swap"]))
        if edit == "replace":
            inner[key] = copy.deepcopy(draw(st.sampled_from(OTHERS)))
        elif edit == "delete":
            del inner[key]
        elif isinstance(inner, list):
            inner.insert(key, copy.deepcopy(inner[key] if edit == "double" else inner[-1]))
        else:
            inner[draw(st.sampled_from(sorted(inner)))] = copy.deepcopy(inner[key])
    text = json.dumps(content).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 9))
        text = text[:start] + draw(st.sampled_from((b"", *TOKENS))) + text[end:]
    return text


@pytest.mark.parametrize("shape", SHAPES)
def test_damage_gives_labels_or_names_the_file(tmp_path, shape):
    path = tmp_path / "boxes.json"
    (tmp_path / "videos").mkdir()
    outcomes = set()

    @settings(
        max_examples=70, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        text=damaged(SHAPES[shape]),
        video=st.sampled_from([None, "gym"]),
        attributes=st.sampled_from([(), (), ("action",)]),
        first_frame=st.sampled_from([None, 0, 1]),
    )
    def check(text, video, attributes, first_frame):
        path.write_bytes(text)
        options = ImportOptions(
            videos=tmp_path / "videos",
            video="gym" if shape == "cvat" else video,
            attributes=attributes,
            first_frame=first_frame,
        )
        try:
            labels = read_coco_video(path, options)
        except AnnotationError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            outcomes.add("refused")
            return
        outcomes.add("read")
        try:
            write_custom_dataset(
                tmp_path / "my.yaml",
                labels,
                inputs=[path],
                videos=tmp_path / "videos",
                fps=25,
                overwrite=True,
            )
        except AnnotationError as error:
            assert "\n" not in str(error)
            # The labels are in order, one by one: nothing is left, or they contradict each other.
            assert (
                "nothing to write" in str(error)
                or "in two boxes" in str(error)
                or ("no text in UTF-8" in str(error))
            )

    check()
    assert outcomes == {"read", "refused"}
