"""Every format is recognised, and taken for no other one."""

import gzip
import json

import pytest
from coco_samples import COCO_VID, CVAT, TAO, YOUTUBE_VIS

from tubedet.data import AnnotationError
from tubedet.data.importers.formats import FORMATS, guess_format

# The beginnings of files, and what they are recognised by (None: any words); one or more for each
# format.
BEGINNINGS = {
    "cvat": {
        "a.xml": (
            '<?xml version="1.0"?>\n<annotations>\n<version>1.1',
            "the element <annotations>",
        ),
    },
    "coco-video": {
        "cocovid.json": (json.dumps(COCO_VID), "the key 'categories'"),
        "cvat.json": (json.dumps(CVAT), "the key 'categories'"),
        "tao.json": (json.dumps(TAO), "the key 'categories'"),
        "ytvis.json": (json.dumps(YOUTUBE_VIS), "the key 'categories'"),
        # In large files the categories come late.
        "videos.json": (
            '{"info": {}, "videos": [{"file_names": ["a/0.jpg"',
            "the key 'file_names'",
        ),
        "images.json": ('{"images": [{"id": 1, "file_name": "0.jpg"', "the key 'file_name'"),
        "annotations.json": (
            '\ufeff {"annotations": [{"category_id": 1',
            "the key 'category_id'",
        ),
    },
    "via3": {
        "p.json": (
            '{"project":{"pid":"__VIA_PROJECT_ID__","vid_list":["1"]},"config":{},',
            None,
        ),
        "bom.json": ('\ufeff{\n "project": {"vid_list": ["1"]}, "attribute": {"1": {}}}', None),
        "e.csv": (
            "# Exported using VGG Image Annotator (http://...)\n# CSV_HEADER = "
            "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n",
            None,
        ),
    },
    "label-studio": {
        "tasks.json": (
            '[{"id":1,"annotations":[{"result":[{"value":{"framesCount":9,"sequence":'
            '[{"frame":1,"enabled":true}]},"type":"videorectangle"}]}],"data":{}}]',
            None,
        ),
        "task.json": (
            '{"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"completed_by": 1, '
            '"result": [{"type": "videorectangle", "value": {"sequence": []}}]}]}',
            None,
        ),
        # The type stands behind many key frames.
        "long.json": (
            '[{"annotations":[{"result":[{"value":{"sequence":[{"x":1,"enabled":true},',
            None,
        ),
        "min.json": ('[{"video":"a.mp4","box":[{"sequence":[{"frame":1,"enabled":true}]}]}]', None),
    },
    "mot": {
        "gt.txt": ("1,1,912,484,97,109,0,7,1\n2,1,912,484,97,109,0,7,1\n", None),
        "1gt.txt": ("# CVAT MOT 1.1\n1,1,100,150,50,120,1,1,1.0\n", None),
        "seq.txt": ("1, 2, 1.5, 1, 100, 100, -1, -1, -1, -1\n", None),
        "gt.csv": ("1,1,0.1,0.2,0.3,0.4,1,1,1\n", None),
    },
    "act-pickle": {
        "JHMDB-GT.pkl": ("(dp1\nS'labels'\n", None),
        "a.PICKLE": ("\x80", None),
    },
    "mmaction2": {
        "ava_val.csv": ("-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1\n", None),
        "train.csv": ("gym.avi,3,0.077,0.151,0.283,0.811,80\ngym.avi,4\n", None),
        "2train.csv": (
            "video_id,frame_timestamp,x1,y1,x2,y2,action_id,person_id\na,0,0,0,1,1,1,1\n",
            None,
        ),
        "3train.csv": ("1,2,0.14,0.449,0.171,0.57,3,0\n", None),
        "4train.csv": ("gym,4\ngym,5,12,20,100,200,1\n", None),
    },
    "ava-kinetics": {
        "kinetics_val_v1.0.csv": (
            "00_77WAvZ_o,17.000000,0.3,0.4,0.5,0.9,12\n00g-inkLork,5.01\n",
            None,
        ),
        "kinetics_train.csv": (
            "/data/x/00_77WAvZ_o_000012_000022.mp4,17,0.3,0.4,0.5,0.9,12,-1\n",
            None,
        ),
    },
}
OTHER_FILES = [
    ("a.txt", ""),
    ("a.txt", "\n\n"),
    ("a.csv", "clip_id,annotator,task_type,job_id,xml_file_path\n1,a,primary,73,b\n"),
    ("det.txt", "1,-1,794.2,47.5,71.2,174.8,67.5\n"),  # seven columns of numbers: boxes alone
    ("a.csv", "gym,4\ngym,5\n"),  # nobody at all
    ("a.csv", "1,2,3,4,5,6,7,8,9,10,11\n"),
    ("a.csv", "gym,1,0.1,0.2,0.3,0.4,run\n"),
    ("a.csv", "gym,1,0.1,0.2,0.3,0.4,1\ngym,1,2,3\n"),
]
CASES = [(f, n, *case) for f, files in BEGINNINGS.items() for n, case in files.items()]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("name", "file", "beginning", "sign"), CASES)
def test_one_format_recognises_the_file(tmp_path, name, file, beginning, sign, compressed):
    content = beginning.encode()
    (tmp_path / file).write_bytes(gzip.compress(content) if compressed else content)
    found, by = guess_format(tmp_path / file)
    assert found.name == name and by == (sign or by) and by
    head = beginning.lstrip("\ufeff")
    assert [f.name for f in FORMATS.values() if f.sign(tmp_path / file, head)] == [name]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"a": 1}', "categories"])
def test_other_files_are_refused_with_the_formats(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.txt: the format is not recognised; .*cvat,"):
        guess_format(tmp_path / "a.txt")


@pytest.mark.parametrize(("file", "head"), OTHER_FILES)
def test_other_files_are_not(tmp_path, file, head):
    path = tmp_path / file
    path.write_text(head)
    with pytest.raises(AnnotationError, match="the format is not recognised; name it before"):
        guess_format(path)


def test_every_format_is_tried_here():
    assert set(BEGINNINGS) == set(FORMATS)
