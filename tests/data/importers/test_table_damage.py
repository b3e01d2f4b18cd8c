"""Whatever happens to tables, xml and pickles: labels that can be written, or an error."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_damage import places

from tests.data.importers import (
    test_act_pickle,
    test_ava_kinetics,
    test_cvat,
    test_mmaction2,
    test_mot,
)
from tubedet.data import AnnotationError
from tubedet.data.datasets.custom import load_key_frames, load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.importers.dataset_writer import write_custom_dataset
from tubedet.data.importers.formats import FORMATS
from tubedet.data.importers.labels import ImportOptions

NAMES = b"1: walk\n2: drive\n12: stand\n17: carry\n"
# Name of the format -> its files, of which each in turn is damaged, and options that name them.
TEXTS = {
    "mot": (
        {
            "gt.txt": test_mot.CVAT.encode(),
            "seqinfo.ini": test_mot.SEQINFO.encode(),
            "actions.csv": test_mot.ACTIONS.encode(),
        },
        {"actions": "actions.csv"},
    ),
    "mot with classes": (
        {"gt.txt": test_mot.CVAT.encode(), "names.txt": NAMES},
        {"label_map": "names.txt", "first_frame": 0, "video": "a"},
    ),
    "mmaction2": (
        {"rows.csv": test_mmaction2.ROWS.encode(), "names.txt": NAMES},
        {"label_map": "names.txt", "start_second": 900.0},
    ),
    "mmaction2 with frames": (
        {"rows.csv": b"a,1,0,0,1,1,12,3\na,1,0,0,1,1,17,3\nb,2,0,0,1,1,1,4\nb,4\n"},
        {"label_map": "names.txt", "first_frame": 1},
    ),
    "ava-kinetics": (
        {"kinetics.csv": test_ava_kinetics.ROWS.encode(), "names.txt": NAMES},
        {"label_map": "names.txt", "start_second": 5.0},
    ),
    "cvat": ({"export.xml": test_cvat.EXPORT.encode()}, {}),
    "cvat with attributes": (
        {"export.xml": test_cvat.EXPORT.encode()},
        {"attributes": ("talk", "pose"), "video": "a"},
    ),
}
TOKENS = (
    *(b"", b",", b",,", b"\n", b"\r", b'"', b"\0", b"\xff", b"nan", b"-inf", b"1e999", b"1e300"),
    *(b"-1", b"0", b"1.5", b"10000000", b"9" * 25, b"9" * 5000, b" ", b"#", b":", b"=", b"[", b"%"),
    *("٣".encode(), b"\x1f\x8b", b"\xef\xbb\xbf", b"a/b", b".mp4", b"12", b"item {", b"(?"),
)
OTHERS = (
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        3,
        1.5,
        10**9,
        2**70,
        float("nan"),
        "",
        "a",
        "a\nb",
        b"a",
        (),
    ),
    *([], [[]], [1], ["a", "a"], {}, {0: []}, {"a": 1}, (1, 2), (0, -1), (True, 2)),
    *(np.zeros((0, 5)), np.zeros((2, 4)), np.ones((2, 5)), np.array([[1, 5, 5, 2, 2.0]])),
    *(np.array([[1.5, 0, 0, 9, 9]]), np.array([[2, 0, 0, 9, 9], [1, 0, 0, 9, 9]], np.uint8)),
)
fuzz = settings(
    max_examples=60,
    deadline=20_000,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def damaged_text(draw, text):
    """The text after a few random edits of its bytes."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        lines = st.sampled_from(text.splitlines(keepends=True) or [b""])
        middle = draw(st.one_of(st.sampled_from(TOKENS), lines, st.just(text[start:end] * 2)))
        text = text[:start] + middle + text[end:]
    return text


@st.composite
def damaged_pickle(draw, content):
    """The pickle after a few random edits of its values, then of its bytes."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(0, 3))):
        *path, key = draw(st.sampled_from(sorted(places(content), key=str)))
        inner = content
        for name in path:
            inner = inner[name]
        edit = draw(st.sampled_from(["replace", "delete", "double"]))
        if edit == "replace":
            inner[key] = copy.deepcopy(draw(st.sampled_from(OTHERS)))
        elif edit == "delete":
            del inner[key]
        elif isinstance(inner, list):
            inner.insert(key, inner[key])
        else:
            inner[draw(st.sampled_from(["a", 0, 7, *inner]))] = inner[key]
    data = pickle.dumps(content)
    if draw(st.sampled_from([False, False, True])):
        start = draw(st.integers(0, len(data)))
        data = data[:start] + draw(st.binary(max_size=3)) + data[start + draw(st.integers(0, 5)) :]
    return data


def read_and_write(name, path, options, folder):
    """Import; an error names one of the files. Returns whether labels came out."""
    try:
        labels = FORMATS[name].read(path, options)
    except AnnotationError as error:
        message = str(error)
        assert message.startswith(f"{folder}/") and "\n" not in message, message
        file = message[len(f"{folder}/") :].replace("[", ":").replace(" ", ":").partition(":")[0]
        assert (folder / file).is_file(), message
        return False
    try:
        write_custom_dataset(
            folder / "out/my.yaml", labels, inputs=[path], videos=folder, fps=25.0, overwrite=True
        )
    except AnnotationError as error:  # all that is left is nobody
        assert "no box of a person with an action: nothing to write" in str(error)
        return True
    own = read_custom_yaml(folder / "out/my.yaml")
    if own.timestamps == "seconds":
        load_key_frames(own)
    elif own.boxes == "pixels":  # fractions of videos that are not there cannot be scaled
        load_tubes(own)
    return True


@pytest.mark.parametrize(("case", "file"), [(c, file) for c in TEXTS for file in TEXTS[c][0]])
def test_tables(tmp_path, case, file):
    files, options = TEXTS[case]
    (tmp_path / "00_77WAvZ_o_000012_000022.mp4").touch()
    (tmp_path / "00g-inkLork.mp4").touch()
    (tmp_path / "names.txt").write_bytes(NAMES)
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    paths = {k: tmp_path / v if k in ("actions", "label_map") else v for k, v in options.items()}
    outcomes = set()

    def read():
        made = ImportOptions(videos=tmp_path, **paths)
        return read_and_write(case.split()[0], tmp_path / next(iter(files)), made, tmp_path)

    assert read()  # before it is damaged

    @fuzz
    @given(damaged_text(files[file]))
    def try_one(text):
        (tmp_path / file).write_bytes(text)
        outcomes.add(read())

    try_one()
    assert outcomes == {True, False}


@pytest.mark.parametrize("content", [test_act_pickle.act(), test_act_pickle.corrected()])
def test_pickles(tmp_path, content):
    options = ImportOptions(videos=tmp_path)
    outcomes = set()

    @settings(fuzz, max_examples=150)
    @given(damaged_pickle(content))
    def try_one(data):
        (tmp_path / "GT.pkl").write_bytes(data)
        outcomes.add(read_and_write("act-pickle", tmp_path / "GT.pkl", options, tmp_path))

    try_one()
    assert outcomes == {True, False}
