"""Whatever happens to an annotation file, its reader returns or names the file and the place."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tubedet
from tubedet.data.annotations.ava_csv import read_ava_csv, read_label_map, read_timestamps
from tubedet.data.annotations.text import AnnotationError
from tubedet.data.annotations.tube_files import read_act_groundtruth, read_corrected_ucf101
from tubedet.data.annotations.video_lists import read_file_names, read_seconds, read_video_infos
from tubedet.data.datasets.ava import AVAFiles, load_ava
from tubedet.data.datasets.custom import load_key_frames, load_tubes
from tubedet.data.datasets.custom_yaml import read_custom_yaml
from tubedet.data.validation.annotation_checks import check_ava

ACTION_LIST = Path(tubedet.__file__).parent / "data/datasets/label_maps/ava_action_list_v2.1.pbtxt"
CSV = b"""\
-a.1,0902,0.077,0.151,0.283,0.811,1,1
-a.1,0902,0.077,0.151,0.283,0.811,2,1
-a.1,0903,0.226,0.032,0.366,0.497,2,0
b_2,0902,0.332,0.194,0.481,0.891,1
b_2,0904
"""
FRAMES_CSV = b"a,1,5,6,20,30,1,0\na,2,6,6,21,30,1,0\na,2,40,6,50,30,2,1\nb,3,0,0,9,9,2,0\na,4\n"
LABEL_MAP = b"""\
item {
  name: "talk to (e.g., self)"
  id: 1
}
label {
  name: "sit"
  label_id: 2
  label_type: PERSON_MOVEMENT
}
"""
YAML = b"""\
# what I filmed
videos: films
annotations: rows.csv
classes: [stand, "walk, slowly"]
fps: 30000/1001
exclusive: false
boxes: pixels
timestamps: frames
excluded: excluded.csv
"""
INFOS = b"""\
video_id,height,width,fps,start_second,num_frames
-a.1,360,640,30,900,27030
b_2,480,640,24.5,900,
"""
TOKENS = [
    *(b'"', b"\x00", b"\xff", b",", b",,", b"nan", b"-inf", b"1e999", b"1_0", b"0x1", b"-1", b"0"),
    *(b"9" * 20, b"9" * 5000, b"\n", b"\r", b"\r\n", b"\t", b" ", b"{", b"}", b"item {", b"'"),
    *(b"\xef\xbb\xbf", b"\x1f\x8b", b"\xc2\xa0", "١".encode(), b"[", b"]", b": ", b"- ", b"*a"),
    *(b"&a", b"!!python/object/apply:os.abort []", b"name:", b"id:", b"#", b"%", b"\\", b"e", b"."),
    *(
        b"cos\nabort\n(tR.",
        b"\x80\x05",
        b"(",
        b"l",
        b"d",
        b"R",
        b"b",
        b"\x95" + b"\xff" * 8,
        b"\x8e",
    ),
]


@st.composite
def damaged(draw, content):
    """The content after a few random edits."""
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.integers(0, 30)))
        middle = draw(
            st.one_of(
                st.just(b""),
                st.sampled_from(TOKENS),
                st.binary(max_size=8),
                st.just(content[begin:end] * 2),
                st.sampled_from(content.splitlines(keepends=True) or [b""]),
            )
        )
        content = content[:begin] + middle + content[end:]
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


# The time is for slow machines: an example takes milliseconds, a hang does not end.
fuzz = settings(
    max_examples=100,
    deadline=20_000,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read_damaged(read, path, content, place=r":\d+: "):
    """Reads; an error names the file and the place in it, unless it is the file as a whole.

    Damage can make another file of the same folder wrong, such as the csv of a yaml.
    """
    path.write_bytes(content)
    try:
        read(path)
    except AnnotationError as error:
        file, found = re.fullmatch(rf"{path.parent}/([\w.]+)(.*)", str(error), re.DOTALL).groups()
        assert (path.parent / file).is_file()
        whole = ("the gzip file is broken or cut off", "in this label map")
        assert re.match(place, found) or any(w in found for w in whole), str(error)


TEXT_READERS = {
    "csv": (read_ava_csv, CSV.rpartition(b"b_2,0904")[0]),
    "ava-kinetics csv": (lambda path: read_ava_csv(path, ava_kinetics=True), CSV),
    "timestamps": (read_timestamps, b"-a.1,0902\nb_2,1038\n" * 3),
    "label map": (read_label_map, LABEL_MAP),
    "80 labels": (read_label_map, ACTION_LIST.read_bytes()),
    "seconds": (read_seconds, b"0902\n0903\n"),
    "file names": (read_file_names, b"-a.1.mkv\nb_2.mp4\n"),
    "video info": (read_video_infos, INFOS),
}


@pytest.mark.parametrize("kind", TEXT_READERS)
@fuzz
@given(data=st.data())
def test_text_files(tmp_path, kind, data):
    read, content = TEXT_READERS[kind]
    read_damaged(read, tmp_path / "damaged", data.draw(damaged(content)))


@fuzz
@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("kind", TEXT_READERS)
def test_files_that_are_something_else(tmp_path, kind, content):
    read_damaged(TEXT_READERS[kind][0], tmp_path / "strange", content)


AVA_TEXTS = {
    "groundtruth_csv": CSV,
    "exclusions_csv": b"b_2,0902\n",
    "label_map": LABEL_MAP,
    "included_timestamps": b"0902\n0903\n0904\n",
    "file_names": b"-a.1.mkv\nb_2.mp4\n",
    "video_info_csv": INFOS,
}


@pytest.mark.parametrize("kind", AVA_TEXTS)
@settings(fuzz, max_examples=30)
@given(data=st.data())
def test_a_whole_ava_data_set(tmp_path, kind, data):
    paths = {name: str(tmp_path / name) for name in AVA_TEXTS}
    for name, text in AVA_TEXTS.items():
        Path(paths[name]).write_bytes(text)
    files = AVAFiles(
        **paths,
        action_list=paths["label_map"],
        frames_dir=str(tmp_path / "frames"),
        videos_dir=str(tmp_path / "videos"),
    )
    read_damaged(lambda _: load_ava(files), Path(paths[kind]), data.draw(damaged(AVA_TEXTS[kind])))
    problems = check_ava("damaged", files).problems  # raises nothing at all
    assert all(problem.file == paths[kind] or problem.line for problem in problems)


OWN_TEXTS = {"my.yaml": YAML, "rows.csv": FRAMES_CSV, "excluded.csv": b"a,2\n"}


@pytest.mark.parametrize("timestamps", ["frames", "seconds"])
@pytest.mark.parametrize("kind", OWN_TEXTS)
@fuzz
@given(data=st.data())
def test_own_data(tmp_path, kind, timestamps, data):
    def load(_):
        own = read_custom_yaml(tmp_path / "my.yaml")
        (load_tubes if own.timestamps == "frames" else load_key_frames)(own)

    (tmp_path / "films").mkdir(exist_ok=True)
    texts = {**OWN_TEXTS, "my.yaml": YAML.replace(b"frames", timestamps.encode())}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    try:
        read_damaged(load, tmp_path / kind, data.draw(damaged(texts[kind])))
    except OSError as error:  # a damaged yaml may ask for the sizes of videos that are not there
        assert kind == "my.yaml" and "films" in str(error)


BOXES = np.array([[f, 10, 20, 30 + f, 40] for f in (1, 2, 3)], np.float32)
ACT = {
    "labels": ["run", "sit"],
    "gttubes": {"run/a": {0: [BOXES]}, "sit/b": {1: [BOXES[:2], BOXES[1:]]}},
    "nframes": {"run/a": 3, "sit/b": 4},
    "resolution": {"run/a": (240, 320), "sit/b": (240, 320)},
    "train_videos": [["run/a", "sit/b"]],
    "test_videos": [["sit/b"]],
}
CORRECTED = {
    video_id: {
        "numf": 9,
        "label": 0,
        "annotations": [
            {"label": 0, "sf": 0, "ef": 2, "boxes": np.array([[1, 2, 3, 4]] * 2, np.uint8)}
        ],
    }
    for video_id in ("run/a", "run/b")
}
PICKLES = {
    "act": (
        lambda path: read_act_groundtruth(
            path, action_names=("run", "sit"), split=1, subset="train"
        ),
        ACT,
    ),
    "corrected": (
        lambda path: read_corrected_ucf101(
            path,
            action_names=("run", "sit"),
            test_list=path.with_name("test.txt"),
            subset="train",
        ),
        CORRECTED,
    ),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", PICKLES)
@fuzz
@given(data=st.data())
def test_pickles(tmp_path, kind, protocol, data):
    read, content = PICKLES[kind]
    (tmp_path / "test.txt").write_text("run/b\n")
    content = data.draw(damaged(pickle.dumps(content, protocol=protocol)))
    # A pickle has no lines: the place is a byte, or the keys that lead to the value.
    place = r": byte \d+: |\[|: '| has | is |: key |: none of its 1 lines is a video of "
    read_damaged(read, tmp_path / "damaged.pkl", content, place)
